variable "BUILD_NUMBER" {
  default = "0"
}

group "default" {
  targets = ["base", "app"]
}

target "base" {
  context    = "."
  dockerfile = "Dockerfile.base"
  tags       = ["greeter-py-base:${BUILD_NUMBER}", "greeter-py-base:latest"]
}

target "test" {
  context  = "."
  contexts = { base = "target:base" }
  target   = "test"
}

target "app" {
  context  = "."
  contexts = { base = "target:base" }
  target   = "app"
  tags     = ["greeter-py:${BUILD_NUMBER}", "greeter-py:latest"]
}
