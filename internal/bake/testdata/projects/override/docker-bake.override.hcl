target "default" {
  tags = ["a:2"]
  args = { Y = "3" }
}
