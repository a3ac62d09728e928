package ipset

import (
	"context"

	"bailiff/firewall/internal/nfrule"
)

// Watch calls changed whenever somebody has changed our rules; what to do then is Verify. Nobody tells of changes to
// ipsets. It may run beside all other methods, and returns when ctx is done, or with the error that ended it.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	return nfrule.Watch(ctx, b.prefix, nfrule.Families[:], changed)
}
