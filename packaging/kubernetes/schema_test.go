package kubernetes

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// check is what is wrong with an object: in the OpenAPI schema of its kind, which knows what is required, and in the API's own types, which
// are newer and know all names of fields.
func check(t *testing.T, object []byte, definition string, into any) (faults []string) {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := all[definition]
	if !ok {
		t.Fatalf("there is no %s in Kubernetes' OpenAPI document", definition)
	}
	s = expand(s, all)
	var plain any
	if err := yaml.Unmarshal(object, &plain); err != nil {
		return []string{err.Error()}
	}
	for _, err := range validate.NewSchemaValidator(&s, nil, "", strfmt.Default).Validate(plain).Errors {
		faults = append(faults, err.Error())
	}
	if err := yaml.UnmarshalStrict(object, into); err != nil {
		faults = append(faults, err.Error())
	}
	return faults
}

// parse reads a manifest and answers all that is wrong with its objects.
func parse(t *testing.T, text string) (m manifest, faults []string) {
	t.Helper()
	for object := range strings.SplitSeq(text, "\n---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(object), &head); err != nil {
			return m, append(faults, err.Error())
		}
		var definition string
		var into any
		switch head.APIVersion + " " + head.Kind {
		case "apps/v1 Deployment":
			definition, into = "io.k8s.api.apps.v1.Deployment", &m.deployment
		case "v1 Service":
			definition, into = "io.k8s.api.core.v1.Service", &m.service
		case "policy/v1 PodDisruptionBudget":
			definition, into = "io.k8s.api.policy.v1.PodDisruptionBudget", &m.budget
		default:
			faults = append(faults, fmt.Sprintf("an object of kind %q, version %q", head.Kind, head.APIVersion))
			continue
		}
		for _, f := range check(t, []byte(object), definition, into) {
			faults = append(faults, head.Kind+": "+f)
		}
	}
	return m, faults
}

func read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("sslecho.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSchema: the manifest has no fault, and those that it might have are found.
func TestSchema(t *testing.T) {
	text := read(t)
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
