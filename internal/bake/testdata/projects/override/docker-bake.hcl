target "default" {
  tags = ["a:1"]
  args = { X = "1", Y = "2" }
}
