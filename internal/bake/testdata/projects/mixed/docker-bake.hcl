target "web" { platforms = ["linux/arm64"] }
