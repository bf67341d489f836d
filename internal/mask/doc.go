// Package mask makes what a build prints safe to show: it hides secrets and
// takes out what would steer a terminal.
//
// A Masker knows the secrets of one run and every form in which a careless
// tool prints them: as they are, line by line, in base64, escaped for a URL.
// Its Writer hides them in a stream, wherever the stream is cut: it holds back
// only bytes that may be the beginning of a secret, and everything else passes
// at once, so that a live log is live.
//
// A Stripper takes terminal control sequences out of a stream, also across
// cuts. Strip first, mask second: a control sequence in the midst of a secret
// would hide it from the Masker and not from people.
//
//	out := m.Writer(log)
//	in := mask.Strip(out)
//	… copy the build's output to in …
//	out.Close()
//
// What is not hidden: secrets of fewer than four bytes (Short lists them), and
// what a build computes from a secret otherwise, such as its reverse, its hash
// or its base64 broken into lines.
package mask
