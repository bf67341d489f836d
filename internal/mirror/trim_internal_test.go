package mirror

import "testing"

// TestFillDuringALook: what arrives while a look adds up the rest is not
// forgotten, and does not ask again and again.
func TestFillDuringALook(t *testing.T) {
	var tr trimming
	tr.init(100)
	due := func() bool {
		select {
		case <-tr.due:
			return true
		default:
			return false
		}
	}
	tr.look() // the first one, at the start
	tr.added(60)
	tr.seen(50) // it did not see the 60
	if !due() {
		t.Error("110 of 100 bytes, and no look is asked for")
	}
	tr.look()
	tr.seen(110) // all of it is in use
	if due() {
		t.Error("another look is asked for though nothing came since")
	}
	tr.look()
	tr.seen(80)
	tr.added(10)
	if due() {
		t.Error("90 of 100 bytes, and a look is asked for")
	}
	tr.added(20)
	if !due() {
		t.Error("110 of 100 bytes, and no look is asked for")
	}
}
