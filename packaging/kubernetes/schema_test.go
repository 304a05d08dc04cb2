package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi/v1_21_2"
	"sigs.k8s.io/yaml"
)

// manifest is the file, each object by its kind.
type manifest struct {
	deployment appsv1.Deployment
	service    corev1.Service
	budget     policyv1.PodDisruptionBudget
}

// schemas are the definitions of Kubernetes' OpenAPI document.
var schemas = sync.OnceValues(func() (spec.Definitions, error) {
	doc, swagger := &openapi.Document{}, spec.Swagger{}
	if err := proto.Unmarshal(v1_21_2.MustAsset("kubernetesapi/v1_21_2/swagger.pb"), doc); err != nil {
		return nil, err
	}
	_, err := swagger.FromGnostic(doc)
	return swagger.Definitions, err
})

// expand puts definitions into the place of references, which the validator does not follow, and the two types of what may be a number or a
// text into the place of a format that it does not know.
func expand(s spec.Schema, all spec.Definitions) spec.Schema {
	if ref := s.Ref.String(); ref != "" {
		return expand(all[strings.TrimPrefix(ref, "#/definitions/")], all)
	}
	if s.Format == "int-or-string" {
		s.Type, s.Format = spec.StringOrArray{"integer", "string"}, ""
	}
	if s.Items != nil && s.Items.Schema != nil {
		items := expand(*s.Items.Schema, all)
		s.Items = &spec.SchemaOrArray{Schema: &items}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		more := expand(*s.AdditionalProperties.Schema, all)
		s.AdditionalProperties = &spec.SchemaOrBool{Allows: true, Schema: &more}
	}
	properties := map[string]spec.Schema{}
	for name, p := range s.Properties {
		properties[name] = expand(p, all)
	}
	s.Properties = properties
	return s
}

// parse reads a manifest and answers all that is wrong with its objects: in the OpenAPI schema of their kind, which knows what is
// required, and in the API's own types, which are newer and know all names of fields.
func parse(t *testing.T, text string) (m manifest, faults []string) {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]struct {
		definition string
		into       any
	}{
		"apps/v1 Deployment":            {"io.k8s.api.apps.v1.Deployment", &m.deployment},
		"v1 Service":                    {"io.k8s.api.core.v1.Service", &m.service},
		"policy/v1 PodDisruptionBudget": {"io.k8s.api.policy.v1.PodDisruptionBudget", &m.budget},
	}
	for object := range strings.SplitSeq(text, "\n---\n") {
		var plain map[string]any
		err := yaml.Unmarshal([]byte(object), &plain)
		name := fmt.Sprint(plain["apiVersion"], " ", plain["kind"])
		kind, ok := kinds[name]
		if err != nil || !ok {
			faults = append(faults, fmt.Sprintf("an object of kind %q: %v", name, err))
			continue
		}
		if _, ok := all[kind.definition]; !ok {
			t.Fatalf("there is no %s in Kubernetes' OpenAPI document", kind.definition)
		}
		s := expand(all[kind.definition], all)
		errs := validate.NewSchemaValidator(&s, nil, "", strfmt.Default).Validate(plain).Errors
		if err := yaml.UnmarshalStrict([]byte(object), kind.into); err != nil {
			errs = append(errs, err)
		}
		for _, err := range errs {
			faults = append(faults, name+": "+err.Error())
		}
	}
	return m, faults
}

// TestSchema: the manifest has no fault, and those that it might have are found.
func TestSchema(t *testing.T) {
	text := read(t, "sslecho.yaml")
	m, faults := parse(t, text)
	for _, f := range faults {
		t.Error(f)
	}
	if m.deployment.Kind == "" || m.service.Kind == "" || m.budget.Kind == "" {
		t.Error("a Deployment, a Service and a PodDisruptionBudget are wanted")
	}
	for _, broken := range []struct{ old, new, want string }{
		{"replicas: 3", "replicas: three", "spec.replicas"},
		{"terminationGracePeriodSeconds", "terminationGraceSeconds", "terminationGraceSeconds"},
		{"        - name: sslecho\n", "        - stdin: true\n", "name in body is required"},
		{"  selector:\n    matchLabels:\n      app.kubernetes.io/name: sslecho\n  strategy", "  strategy", "spec.selector in body is required"},
		{"      port: 443\n", "", "port in body is required"},
		{"path: /healthz", "paths: /healthz", "paths"},
		{"maxUnavailable: 1", "maxUnavailable: [1]", "maxUnavailable"},
		{"policy/v1", "policy/v1beta1", "policy/v1beta1"},
		{"cpu: \"1\"", "cpu: one", "quantities must match"},
	} {
		if !strings.Contains(text, broken.old) {
			t.Errorf("%q is not in the manifest", broken.old)
			continue
		}
		_, faults := parse(t, strings.Replace(text, broken.old, broken.new, 1))
		if !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, broken.want) }) {
			t.Errorf("%q in place of %q: %q, want %q", broken.new, broken.old, faults, broken.want)
		}
	}
}
