package mask

import (
	"io"
	"unicode/utf8"
)

// StripControl appends src to dst without terminal control sequences and
// control characters. Line breaks of any kind become \n; tabs stay. What is
// appended is valid UTF-8: U+FFFD stands for what is not.
func StripControl(dst, src []byte) []byte {
	var s Stripper
	return s.Append(dst, src)
}

// Stripper is StripControl for a stream: it remembers a sequence or a
// character that one chunk began and the next goes on with. Its zero value is
// ready. What the end of the stream cuts short is left out.
//
// It reads ECMA-48 as terminals do, with one difference: a line break ends any
// sequence, so that one left open cannot swallow the log. C1 controls are
// known as single bytes and as UTF-8.
type Stripper struct {
	mode mode
	char [utf8.UTFMax]byte // the beginning of a character of several bytes
	have int               // how many of its bytes
	cr   bool              // the last byte was \r, for which \n is written
}

type mode byte

const (
	plain     mode = iota
	escape         // after ESC
	escapeEnd      // after ESC and intermediate bytes, before the final one
	csi            // in a control sequence
	command        // in a string: OSC, DCS, SOS, PM, APC
)

// passes marks the bytes that are text wherever text stands.
var passes = func() (t [256]bool) {
	for b := ' '; b <= '~'; b++ {
		t[b] = true
	}
	t['\n'], t['\t'] = true, true
	return t
}()

// Append appends the next chunk src to dst, stripped.
func (s *Stripper) Append(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		if s.mode == plain && s.have == 0 && !s.cr {
			n := i
			for n < len(src) && passes[src[n]] {
				n++
			}
			dst = append(dst, src[i:n]...)
			if i = n; i == len(src) {
				break
			}
		}
		dst = s.step(dst, src[i])
	}
	return dst
}

// step reads one byte.
func (s *Stripper) step(dst []byte, c byte) []byte {
	if s.have > 0 || c >= utf8.RuneSelf {
		return s.wide(dst, c)
	}
	cr := s.cr
	s.cr = c == '\r'
	switch c {
	case '\n', '\r':
		s.mode = plain
		if c == '\n' && cr {
			return dst
		}
		return append(dst, '\n')
	case 0x1B: // also the first half of what ends a string
		s.mode = escape
	case 0x18, 0x1A: // CAN and SUB end any sequence
		s.mode = plain
	case 0x07: // ends a string for xterm, which its users rely on
		if s.mode == command {
			s.mode = plain
		}
	default:
		return s.ascii(dst, c)
	}
	return dst
}

// ascii reads a byte that is neither a line break nor one that begins or ends
// sequences anywhere.
func (s *Stripper) ascii(dst []byte, c byte) []byte {
	control := c < 0x20 || c == 0x7F
	switch s.mode {
	case plain:
		if !control || c == '\t' {
			dst = append(dst, c)
		}
	case escape:
		if !control {
			s.escaped(c)
		}
	case escapeEnd:
		if !control && c >= 0x30 {
			s.mode = plain
		}
	case csi:
		if !control && c >= 0x40 {
			s.mode = plain
		}
	}
	return dst
}

// escaped decides what ESC and c begin.
func (s *Stripper) escaped(c byte) {
	switch {
	case c == '[':
		s.mode = csi
	case c == ']', c == 'P', c == 'X', c == '^', c == '_':
		s.mode = command
	case c < 0x30:
		s.mode = escapeEnd
	default:
		s.mode = plain
	}
}

// wide reads a byte of a character of several bytes, or one that should be.
func (s *Stripper) wide(dst []byte, c byte) []byte {
	s.cr = false
	s.char[s.have] = c
	s.have++
	if !utf8.FullRune(s.char[:s.have]) {
		return dst
	}
	r, size := utf8.DecodeRune(s.char[:s.have])
	had, valid := s.have, size > 1
	s.have = 0
	switch {
	case valid && r < 0xA0: // C1 as UTF-8
		s.c1(byte(r))
		return dst
	case valid:
		return s.text(dst, r)
	case had > 1: // c does not go on with what was begun
		return s.step(s.text(dst, utf8.RuneError), c)
	case c < 0xA0: // C1 as it is
		s.c1(c)
		return dst
	}
	return s.text(dst, utf8.RuneError)
}

// text passes a character on, unless it belongs to a string.
func (s *Stripper) text(dst []byte, r rune) []byte {
	if s.mode == command {
		return dst
	}
	s.mode = plain
	return utf8.AppendRune(dst, r)
}

// c1 reads a control character of the upper set. Each stands for ESC and a
// letter; within a string only those count that end it or begin another.
func (s *Stripper) c1(c byte) {
	if s.mode == command && c != 0x90 && c < 0x9B {
		return
	}
	s.escaped(c - 0x40)
}

// Strip passes what is written to it to w, stripped.
func Strip(w io.Writer) io.Writer { return &stripWriter{to: w} }

type stripWriter struct {
	Stripper
	to  io.Writer
	out []byte
}

func (s *stripWriter) Write(p []byte) (int, error) {
	s.out = s.Append(s.out[:0], p)
	if err := write(s.to, s.out); err != nil {
		return 0, err
	}
	return len(p), nil
}
