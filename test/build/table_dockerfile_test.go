//go:build linux

package build

// textCounts is why we build where BuildKit finds that another text means the same.
const textCounts = "of the stages that are built the text counts, but for comments and blank lines: what it means is for the builder to say"

// dockerfileChanges are changes of the Dockerfile's text.
var dockerfileChanges = map[string]change{
	"comment":                   {edit: swap("Dockerfile", "# A service, in stages.\n", "# Another comment.\n# Of two lines.\n"), want: reused},
	"comment between":           {edit: swap("Dockerfile", "ENV MODE=plain\n", "# says how\nENV MODE=plain\n"), want: reused},
	"blank lines":               {edit: swap("Dockerfile", "ENV MODE=plain\n", "\n\nENV MODE=plain\n\n"), want: reused},
	"comment in a heredoc":      {edit: swap("Dockerfile", "# says which\n", "# says what\n"), want: built, because: "Dockerfile"},
	"heredoc of COPY":           {with: then("COPY <<END /text\none\nEND\n"), edit: swap("Dockerfile", "\none\n", "\ntwo\n"), want: built},
	"line ends of Dockerfile":   {edit: func(p *project) { p.write("Dockerfile", p.read("Dockerfile")+"\r\n# end\r\n") }, want: reused},
	"continued line":            {with: then("RUN echo a && echo b > /c\n"), edit: swap("Dockerfile", "RUN echo a && ", "RUN echo a && \\\n"), want: reused},
	"order of instructions":     {edit: swap("Dockerfile", "ENV MODE=plain\nLABEL team=one\n", "LABEL team=one\nENV MODE=plain\n"), want: built},
	"variable":                  {edit: swap("Dockerfile", "MODE=plain", "MODE=fancy"), want: built},
	"label":                     {edit: swap("Dockerfile", "team=one", "team=two"), want: built},
	"command":                   {with: then("CMD [\"sh\"]\n"), edit: swap("Dockerfile", `CMD ["sh"]`, `CMD ["env"]`), want: built},
	"working folder":            {with: then("WORKDIR /a\n"), edit: swap("Dockerfile", "WORKDIR /a", "WORKDIR /b"), want: built},
	"mode given by COPY":        {with: then("COPY --chmod=755 row /x\n"), edit: swap("Dockerfile", "chmod=755", "chmod=700"), want: built},
	"owner given by COPY":       {with: then("COPY --chown=1:1 row /x\n"), edit: swap("Dockerfile", "chown=1:1", "chown=2:1"), want: built},
	"COPY becomes linked":       {with: then("COPY row /x\n"), edit: swap("Dockerfile", "COPY row /x", "COPY --link row /x"), want: built},
	"instruction added":         {edit: then("RUN echo more > /more\n"), want: built},
	"instruction in lower case": {edit: swap("Dockerfile", "COPY src/ /src/", "copy src/ /src/"), want: built, conservative: textCounts},

	"used stage renamed":    {edit: both(swap("Dockerfile", "AS tools", "AS kit"), swap("Dockerfile", "from=tools", "from=kit")), want: built, conservative: textCounts},
	"unused stage renamed":  {edit: swap("Dockerfile", "AS unused", "AS useless"), want: reused},
	"last stage renamed":    {edit: swap("Dockerfile", "AS app", "AS service"), want: built, conservative: textCounts},
	"used stage":            {edit: swap("Dockerfile", "COPY row tools.txt /out/", "COPY row tools.txt a.conf /out/"), want: built},
	"input of used stage":   {edit: put("tools.txt", "other"), want: built, because: "file tools.txt changed"},
	"unused stage":          {edit: swap("Dockerfile", "COPY row unused.txt /", "COPY row unused.txt /other/"), want: reused},
	"input of unused stage": {edit: put("unused.txt", "other"), want: reused},
	"unused stage removed":  {edit: swap("Dockerfile", "FROM busybox:1 AS unused\nCOPY row unused.txt /\n", ""), want: reused},
	"stage added":           {edit: swap("Dockerfile", "FROM ${BASE} AS app", "FROM busybox:1 AS more\nRUN false\n\nFROM ${BASE} AS app"), want: reused},
	"another stage":         {edit: field(`target = "tools"`), want: built, because: "stage"},
	"Dockerfile renamed":    {edit: both(func(p *project) { p.rename("Dockerfile", "Other") }, field(`dockerfile = "Other"`)), want: reused},

	"argument that is used":       {edit: swap("docker-bake.hcl", `VERSION = "1"`, `VERSION = "2"`), want: built, because: `argument VERSION changed from "1" to "2"`},
	"argument nobody declares":    {edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    OTHER = \"2\""), want: reused},
	"argument of unused stage":    {with: swap("Dockerfile", "COPY row unused.txt /\n", "COPY row unused.txt /\nARG OTHER\nRUN echo $OTHER\n"), edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    OTHER = \"2\""), want: reused},
	"argument declared and idle":  {with: then("ARG IDLE\n"), edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    IDLE = \"2\""), want: built, because: "argument IDLE added"},
	"default of a given argument": {edit: swap("Dockerfile", "ARG VERSION=1", "ARG VERSION=9"), want: built, conservative: textCounts},
	"default of an argument":      {with: then("ARG MORE=1\nRUN echo $MORE > /more\n"), edit: swap("Dockerfile", "ARG MORE=1", "ARG MORE=2"), want: built},
	"proxy argument":              {edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    HTTP_PROXY = \"http://proxy.test:3128\""), want: reused},
	"argument set to its default": {with: then("ARG MORE=1\nRUN echo $MORE > /more\n"), edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    MORE = \"1\""), want: built, conservative: "the arguments that are given are inputs, and defaults belong to the Dockerfile's text"},
	"check directive":             {edit: func(p *project) { p.write("Dockerfile", "# check=skip=all\n"+p.read("Dockerfile")) }, want: built, conservative: textCounts},
}
