//! Objects that are no kinds of their own at a path: the bodies of subresources and options.

use std::sync::LazyLock;

use super::{Kind, SchemaRef};

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident: $group:literal $kind:literal $plural:literal $schema:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name() -> &'static Kind {
            static KIND: LazyLock<Kind> =
                LazyLock::new(|| Kind::new($group, "v1", $kind, $plural, SchemaRef::Builtin($schema.into())).review());
            &KIND
        }
    )*};
}

forms! {
    /// The body of `pods/binding`.
    binding: "" "Binding" "bindings" "io.k8s.api.core.v1.Binding";
    /// The body of `pods/eviction`.
    eviction: "policy" "Eviction" "evictions" "io.k8s.api.policy.v1.Eviction";
    /// The body of `serviceaccounts/token`.
    token_request: "authentication.k8s.io" "TokenRequest" "tokenrequests" "io.k8s.api.authentication.v1.TokenRequest";
    /// The body of `scale`.
    scale: "autoscaling" "Scale" "scales" "io.k8s.api.autoscaling.v1.Scale";
    /// The body of a delete request.
    delete_options: "" "DeleteOptions" "deleteoptions" "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
}
