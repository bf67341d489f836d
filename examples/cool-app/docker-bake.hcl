# Two images: the base is slow to make and rarely changes, the app is quick and
# changes all day. Tests run before either gets a tag.

# Slipway counts the builds. It is in tags only: as a build argument it would make
# each build differ from the one before, and nothing could be reused.
variable "BUILD_NUMBER" {
  default = "0"
}

group "default" {
  targets = ["base", "app"]
}

target "base" {
  context    = "."
  dockerfile = "Dockerfile.base"
  tags       = ["cool-app-base:${BUILD_NUMBER}", "cool-app-base:latest"]
}

target "_source" {
  context  = "."
  contexts = { base = "target:base" }
}

# It needs the database of slipway.yaml. It is in no group: `docker buildx bake`
# has no services.
target "test" {
  inherits = ["_source"]
  target   = "test"
}

target "app" {
  inherits = ["_source"]
  target   = "app"
  tags     = ["cool-app:${BUILD_NUMBER}", "cool-app:latest"]
}
