package meta

import "slipway/internal/db"

// Setting returns a value that belongs to the data, such as a key.
func Setting(tx *db.Tx, name string) (value string, found bool, err error) {
	found, err = tx.Row(`SELECT value FROM settings WHERE name = ?`, []any{name}, &value)
	return value, found, err
}

// SetSettingOnce stores a value unless there is one, and returns what holds.
func SetSettingOnce(tx *db.Tx, name, value string) (string, error) {
	if _, err := tx.Exec(`INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
		return "", err
	}
	v, _, err := Setting(tx, name)
	return v, err
}

// SetSetting stores a value.
func SetSetting(tx *db.Tx, name, value string) error {
	_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}
