package trust

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Login is what a registry is called with.
type Login struct{ Username, Password string }

// Kubernetes is YAML for a cluster whose nodes should pull from h: a ConfigMap
// with the authority, and a DaemonSet that puts it where each node's containerd
// looks. With a login there is also the Secret that pods name in
// imagePullSecrets, which holds the password; without one, a comment says how
// to make it.
func Kubernetes(h Host, a *Authority, namespace string, login *Login) []byte {
	folder := "/etc/containerd/certs.d/" + h.String()
	name := "trust-" + strings.Trim(strings.ToLower(strings.NewReplacer(".", "-", ":", "-", "[", "", "]", "").Replace(h.String())), "-")
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-")
	}
	text := strings.NewReplacer(
		"@HOST@", h.String(), "@NAME@", name, "@FINGERPRINT@", a.Fingerprint(), "@FOLDER@", folder,
		"@CA@", indent(string(a.PEM()), "    "), "@HOSTS@", indent(hostsFile(h, folder+"/ca.crt"), "    "),
	).Replace(kubernetesTrust)
	if login == nil {
		return []byte(text + strings.NewReplacer("@HOST@", h.String(), "@NAMESPACE@", namespace).Replace(kubernetesHint))
	}
	auth := base64.StdEncoding.EncodeToString([]byte(login.Username + ":" + login.Password))
	config, _ := json.Marshal(map[string]any{"auths": map[string]any{h.String(): map[string]string{"auth": auth}}}) // strings cannot fail
	return []byte(text + fmt.Sprintf(`---
apiVersion: v1
kind: Secret
metadata:
  name: slipway-pull
  namespace: %s
type: kubernetes.io/dockerconfigjson
data:
  .dockerconfigjson: %s
`, namespace, base64.StdEncoding.EncodeToString(config)))
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}

const kubernetesTrust = `# Nodes trust @HOST@.
# Authority: @FINGERPRINT@
# containerd before 2.2 needs, once on each node, in /etc/containerd/config.toml:
#   [plugins."io.containerd.grpc.v1.cri".registry]
#     config_path = "/etc/containerd/certs.d"
# k3s and RKE2 have registries.yaml instead: run 'slipway trust @HOST@' on their nodes.
apiVersion: v1
kind: ConfigMap
metadata:
  name: @NAME@
  namespace: kube-system
data:
  ca.crt: |
@CA@
  hosts.toml: |
@HOSTS@
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: @NAME@
  namespace: kube-system
spec:
  selector:
    matchLabels: {app: @NAME@}
  template:
    metadata:
      labels: {app: @NAME@}
    spec:
      automountServiceAccountToken: false
      tolerations:
        - operator: Exists
      initContainers:
        - name: write
          image: docker.io/library/busybox:1.37
          command: [sh, -c, 'mkdir -p "/node/@HOST@" && cp /authority/ca.crt /authority/hosts.toml "/node/@HOST@/"']
          volumeMounts:
            - {name: authority, mountPath: /authority, readOnly: true}
            - {name: node, mountPath: /node}
      containers:
        - name: stay
          image: registry.k8s.io/pause:3.10
      volumes:
        - name: authority
          configMap: {name: @NAME@}
        - name: node
          hostPath: {path: /etc/containerd/certs.d, type: DirectoryOrCreate}
`

const kubernetesHint = `# A registry that asks for a login needs a Secret, which pods or their service
# account name in imagePullSecrets. This makes one of what 'docker login @HOST@'
# stored, with the password in what it prints:
#   slipway trust @HOST@ --kubernetes --with-login --namespace @NAMESPACE@ | kubectl apply -f -
# Of the whole file, with the logins of every registry in it:
#   kubectl create secret generic slipway-pull --namespace @NAMESPACE@ --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=$HOME/.docker/config.json
`
