// Package e2e attacks a real systemd host that bailiff guards, and checks from outside what an admin and an attacker see.
// It has tests only: TestHost boots Debian 12 and 13, installs what `make install` installs, and goes through the checks
// in order on each. They ask the kernel, the journal and the attacker's own sockets, not the daemon, wherever they can.
//
// host/ boots and attacks, load/ writes failures at a rate and measures, peers/ plays the services that reports go to, demo/
// shows the same to people.
package e2e
