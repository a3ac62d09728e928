package ipset

import (
	"context"

	"bailiff/firewall/nft"
)

// Watch calls changed whenever somebody has changed our rules; what to do then is Verify. Nobody tells of changes to
// ipsets. It may run beside all other methods, and returns when ctx is done, or with the error that ended it.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	return nft.Watch(ctx, b.prefix, nft.Families[:], changed)
}
