package db

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsFull reports that the disk of the database is full.
func IsFull(err error) bool { return primaryCode(err) == sqlite3.SQLITE_FULL }

// IsReadOnly reports that the database cannot be written or opened.
func IsReadOnly(err error) bool {
	c := primaryCode(err)
	return c == sqlite3.SQLITE_READONLY || c == sqlite3.SQLITE_CANTOPEN
}

// IsBroken reports that the disk of the database failed. SQLite says that the
// database is malformed, too, where the disk answers a read with EIO.
func IsBroken(err error) bool {
	c := primaryCode(err)
	return c == sqlite3.SQLITE_IOERR || c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// isFailedSync reports that data which SQLite wrote may not be on the disk,
// though later attempts seem to succeed.
func isFailedSync(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_IOERR_FSYNC || e.Code() == sqlite3.SQLITE_IOERR_DIR_FSYNC)
}

// primaryCode strips SQLite's extended result codes; 0 for other errors.
func primaryCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
