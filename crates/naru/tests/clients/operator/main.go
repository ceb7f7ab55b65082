// A small operator as people write them with controller-runtime: a kind of its own, leader election, finalizers, owned
// objects by server-side apply, caches of typed, partial and custom objects. Built-in kinds go over the wire as
// controller-runtime sends them unasked: in protobuf.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	finalizer = "go.example.com/farewell"
	owner     = client.FieldOwner("crews")
)

type reconciler struct {
	client.Client
	// Without the cache: members are watched by their metadata alone.
	direct client.Reader
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	crew := &Crew{}
	if err := r.Get(ctx, request.NamespacedName, crew); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !crew.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.farewell(ctx, crew)
	}
	if controllerutil.AddFinalizer(crew, finalizer) {
		if err := r.Update(ctx, crew); err != nil {
			return ctrl.Result{}, retryConflict(err)
		}
	}
	for number := range crew.Spec.Size {
		if err := r.Apply(ctx, member(crew, number), owner, client.ForceOwnership); err != nil {
			return ctrl.Result{}, fmt.Errorf("member %d: %w", number, err)
		}
	}
	members := &corev1.ConfigMapList{}
	if err := r.direct.List(ctx, members, client.InNamespace(crew.Namespace), client.MatchingLabels{"crew": crew.Name}); err != nil {
		return ctrl.Result{}, err
	}
	left := 0
	for i := range members.Items {
		if name := members.Items[i].Name; name >= fmt.Sprintf("%s-%03d", crew.Name, crew.Spec.Size) {
			if err := client.IgnoreNotFound(r.Delete(ctx, &members.Items[i])); err != nil {
				return ctrl.Result{}, err
			}
			continue
		}
		left++
	}
	before := crew.DeepCopyObject().(*Crew)
	crew.Status = CrewStatus{Members: left, Observed: crew.Generation}
	if crew.Status != before.Status {
		if err := r.Status().Patch(ctx, crew, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	fmt.Printf("reconciled %s: %d\n", crew.Name, left)
	return ctrl.Result{}, nil
}

// Whoever was faster is seen by the cache, which brings the crew here again.
func retryConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func member(crew *Crew, number int) *coreapply.ConfigMapApplyConfiguration {
	reference := metaapply.OwnerReference().WithAPIVersion(groupVersion.String()).WithKind("Crew").WithName(crew.Name).
		WithUID(crew.UID).WithController(true).WithBlockOwnerDeletion(true)
	return coreapply.ConfigMap(fmt.Sprintf("%s-%03d", crew.Name, number), crew.Namespace).
		WithLabels(map[string]string{"crew": crew.Name}).
		WithOwnerReferences(reference).
		WithData(map[string]string{"number": fmt.Sprint(number)})
}

// farewell leaves a note, and lets the crew go.
func (r *reconciler) farewell(ctx context.Context, crew *Crew) error {
	note := &corev1.ConfigMap{}
	note.Namespace, note.Name = crew.Namespace, "farewell-"+crew.Name
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, note, func() error {
		note.Data = map[string]string{"crew": crew.Name}
		return nil
	})
	if err != nil {
		return err
	}
	if controllerutil.RemoveFinalizer(crew, finalizer) {
		if err := client.IgnoreNotFound(r.Update(ctx, crew)); err != nil {
			return retryConflict(err)
		}
		fmt.Println("let go", crew.Name)
	}
	return nil
}

// heard says in which forms the server answers, each once.
type heard struct {
	next http.RoundTripper
	told *sync.Map
}

func (h heard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := h.next.RoundTrip(request)
	if err == nil {
		form := response.Header.Get("Content-Type")
		if _, told := h.told.LoadOrStore(form, true); !told {
			fmt.Printf("answered in <%s>\n", form)
		}
	}
	return response, err
}

func define(ctx context.Context, config client.Client) error {
	wanted := definition()
	if err := config.Create(ctx, wanted); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	for {
		found := &apiextensionsv1.CustomResourceDefinition{}
		if err := config.Get(ctx, client.ObjectKeyFromObject(wanted), found); err != nil {
			return err
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func run(ctx context.Context, namespace string) error {
	ctrl.SetLogger(funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{}))
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, addCrews} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	config := ctrl.GetConfigOrDie()
	told := &sync.Map{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return heard{next, told} })
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	if err := define(ctx, direct); err != nil {
		return err
	}
	lease, renew, retry := 6*time.Second, 4*time.Second, 500*time.Millisecond
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics.Options{BindAddress: "0"},
		HealthProbeBindAddress:        "0",
		LeaderElection:                true,
		LeaderElectionID:              "crews",
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).For(&Crew{}).Owns(&corev1.ConfigMap{}, builder.OnlyMetadata).
		Complete(&reconciler{Client: manager.GetClient(), direct: manager.GetAPIReader()})
	if err != nil {
		return err
	}
	go func() {
		<-manager.Elected()
		fmt.Println("leading")
	}()
	fmt.Println("waiting")
	return manager.Start(ctx)
}

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Getenv("NAMESPACE")); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
