variable "BUILD_NUMBER" { default = "0" }
variable "GIT_SHA" { default = "" }
variable "REGISTRY" { default = "registry.example:5000" }
variable "GOVERSIONS" { default = ["1.25", "1.26"] }

function "image" {
  params = [name]
  result = "${REGISTRY}/${name}"
}

group "default" {
  targets = ["app", "tools"]
}

group "all" {
  targets = ["default", "test", "lint"]
}

target "_common" {
  args = {
    COMMIT = GIT_SHA
    EMPTY  = ""
    UNSET  = null
  }
  labels = {
    "org.opencontainers.image.revision" = GIT_SHA
    "dollar"                            = "$${literal}"
  }
  platforms = ["linux/amd64", "linux/arm64/v8"]
}

target "base" {
  inherits   = ["_common"]
  context    = "./app/"
  dockerfile = "../Dockerfile.base"
  tags       = [image("cool-base")]
}

target "app" {
  inherits    = ["_common"]
  description = "The service"
  contexts = {
    base   = "target:base"
    alpine = "docker-image://alpine:3.20"
    docs   = "./app/../app"
    remote = "https://github.com/example/project.git#main:docs"
    data   = "https://example.com/data.tar.gz"
  }
  dockerfile = "app/Dockerfile"
  target     = "final"
  args = {
    VERSION = "1.${BUILD_NUMBER}"
  }
  annotations = ["index,manifest:org.example.kind=service", "org.example.plain=yes"]
  tags = [
    image("cool-app:${BUILD_NUMBER}"),
    image("cool-app:latest"),
    notequal("", GIT_SHA) ? image("cool-app:${substr(GIT_SHA, 0, 7)}") : "",
  ]
  secret          = ["id=token,env=TOKEN", { id = "cert", src = "certs/ca.pem" }]
  ssh             = ["default", { id = "deploy", paths = ["keys/id"] }]
  cache-from      = ["type=registry,ref=registry.example/cache", "user/app:cache"]
  cache-to        = ["type=local,dest=.cache,mode=max"]
  no-cache-filter = ["final", "deps"]
  no-cache        = true
  pull            = true
  network         = "none"
  shm-size        = "128m"
  ulimits         = ["nofile=1024:2048", "nproc=512"]
  extra-hosts = {
    db = "10.0.0.5"
  }
  output = ["type=image,compression=zstd,oci-mediatypes=true"]
  attest = ["type=provenance,mode=max", "type=sbom,disabled=true"]
}

target "tools" {
  name = "tools-${item.name}-${replace(version, ".", "-")}"
  matrix = {
    item = [{ name = "lint", stage = "lint" }, { name = "gen", stage = "gen" }]
    version = GOVERSIONS
  }
  target = item.stage
  args = { GO_VERSION = version }
  tags = [image("tools:${item.name}-${version}")]
}

target "test" {
  inherits = ["app"]
  target   = "test"
  tags     = []
  output   = ["type=cacheonly"]
}

target "lint" {
  dockerfile-inline = <<EOT
FROM alpine
RUN echo $${HOME}
EOT
}
