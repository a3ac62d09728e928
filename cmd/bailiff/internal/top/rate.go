package top

// rate counts events in each of the last seconds.
type rate struct {
	at  int64 // the second of the newest slot
	sum [window]uint32
}

// add counts n events in the second now: see view.second.
func (r *rate) add(now int64, n int) {
	r.move(now)
	r.sum[now%window] += uint32(n)
}

// move drops what is older than the window.
func (r *rate) move(now int64) {
	if now-r.at >= window {
		r.sum = [window]uint32{}
		r.at = now
	}
	for r.at < now {
		r.at++
		r.sum[r.at%window] = 0
	}
}

// in is the sum of the last n seconds.
func (r *rate) in(now int64, n int) (sum int) {
	r.move(now)
	for i := range n {
		sum += int(r.sum[((now-int64(i))%window+window)%window])
	}
	return sum
}

// graph draws the last minute, one column per second; denser characters stand for more.
func (r *rate) graph(now int64) string {
	const ink = " .:-=+*#%@"
	r.move(now)
	most := uint32(0)
	for _, n := range r.sum {
		most = max(most, n)
	}
	b := make([]byte, window)
	for i := range b {
		n := r.sum[((now-int64(window-1-i))%window+window)%window]
		b[i] = ink[0]
		if n > 0 {
			b[i] = ink[1+int(uint64(n-1)*uint64(len(ink)-1)/uint64(max(most, uint32(len(ink)))))]
		}
	}
	return string(b)
}
