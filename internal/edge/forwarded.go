package edge

import (
	"errors"
	"strings"
)

var errForwardedForm = errors.New("Forwarded is not of the form for=1.2.3.4;proto=https")

// forwarded reads the header Forwarded (RFC 7239, section 4): elements
// separated by commas, each of pairs separated by semicolons, with values that
// may be quoted.
func forwarded(lines []string) ([]hop, error) {
	var hops []hop
	for _, line := range lines {
		elements, err := splitQuoted(line, ',')
		if err != nil {
			return nil, err
		}
		for _, element := range elements {
			if strings.TrimSpace(element) == "" {
				continue
			}
			h, err := forwardedElement(element)
			if err != nil {
				return nil, err
			}
			hops = append(hops, h)
		}
	}
	return hops, nil
}

func forwardedElement(element string) (hop, error) {
	var h hop
	pairs, err := splitQuoted(element, ';')
	if err != nil {
		return h, err
	}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return h, errForwardedForm
		}
		if strings.HasPrefix(value, `"`) {
			if value, err = unquote(value); err != nil {
				return h, err
			}
		}
		var into *string
		switch strings.ToLower(name) {
		case "for":
			into = &h.from
		case "proto":
			into, value = &h.proto, schemeOf(value)
		case "host":
			into = &h.host
		default:
			continue // by, and what may come
		}
		if *into != "" || value == "" {
			return h, errForwardedForm // each at most once
		}
		*into = value
	}
	if h.from == "" {
		return h, errForwardedForm
	}
	return h, nil
}

// splitQuoted splits where a separator is outside of quotes.
func splitQuoted(s string, separator byte) ([]string, error) {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	if quoted {
		return nil, errForwardedForm
	}
	return append(parts, s[start:]), nil
}

// unquote reads a quoted-string (RFC 9110, section 5.6.4).
func unquote(s string) (string, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i != len(s)-1 {
				return "", errForwardedForm
			}
			return b.String(), nil
		case '\\':
			if i++; i == len(s) {
				return "", errForwardedForm
			}
		}
		b.WriteByte(s[i])
	}
	return "", errForwardedForm
}
