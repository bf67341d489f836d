package workload_test

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"slipway/internal/auth"
)

// TestWhatSystemsSay has the claims that the documentation of GitHub Actions and
// of GitLab gives as examples, and rules as people would write them.
func TestWhatSystemsSay(t *testing.T) {
	s := newSystem(t)
	w := s.workloads(t)
	for system, c := range map[string]struct {
		claims  jwt.MapClaims
		actor   string
		yes, no []string
	}{
		"GitHub Actions": {
			jwt.MapClaims{
				"jti": "example-id", "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "ref": "refs/heads/main", "sha": "example-sha",
				"repository": "octo-org/octo-repo", "repository_owner": "octo-org", "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
				"repository_owner_id": "65", "run_id": "example-run-id", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted",
				"actor": "octocat", "workflow": "example-workflow", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
				"job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
			},
			"workload:hub/repo:octo-org/octo-repo:environment:prod",
			[]string{
				"workload:issuer=hub,repository=octo-org/octo-repo,ref=refs/heads/main", "workload:issuer=hub,repository_owner_id=65,environment=prod",
				"workload:issuer=hub,job_workflow_ref=octo-org/octo-automation/.github/workflows/oidc.yml@*",
			},
			[]string{"workload:issuer=hub,repository=octo-org/octo-repo,ref=refs/tags/*", "workload:issuer=hub,repository=octo-org/octo", "workload:issuer=lab,repository=octo-org/octo-repo"},
		},
		"GitLab": {
			jwt.MapClaims{
				"namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project", "user_id": "1", "user_login": "sample-user",
				"user_email": "sample-user@example.com", "user_identities": []map[string]string{{"provider": "github", "extern_uid": "2435223452345"}},
				"pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "feature-branch-1", "ref_type": "branch", "ref_path": "refs/heads/feature-branch-1",
				"ref_protected": "false", "groups_direct": []string{"mygroup/mysubgroup", "myothergroup/myothersubgroup"}, "environment": "test-environment2",
				"environment_protected": "false", "deployment_tier": "testing", "environment_action": "start", "runner_id": 1, "runner_environment": "self-hosted",
				"sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "project_visibility": "public", "ci_config_ref_uri": "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
				"ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b", "sub": "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
			},
			"workload:hub/project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
			[]string{"workload:issuer=hub,project_path=my-group/*,ref_type=branch", "workload:issuer=hub,project_id=20,runner_id=1"},
			[]string{"workload:issuer=hub,project_path=my-group/my-project,ref_protected=true", "workload:issuer=hub,groups_direct=*", "workload:issuer=hub,user_identities=*"},
		},
	} {
		all := s.claims()
		for _, name := range []string{"repository", "ref", "run_attempt", "protected", "environments", "long"} {
			delete(all, name)
		}
		for name, v := range c.claims {
			all[name] = v
		}
		i, err := w.Verify(ctx, s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], all))
		if err != nil || i.Actor() != c.actor {
			t.Fatalf("%s: %+v, %v", system, i, err)
		}
		for want, subjects := range map[bool][]string{true: c.yes, false: c.no} {
			for _, text := range subjects {
				subject, err := auth.ParseSubject(text)
				if err != nil {
					t.Fatal(err)
				}
				if subject.Match(i) != want {
					t.Errorf("%s: %s includes it: %v", system, text, !want)
				}
			}
		}
	}
}
