//! From a request to the code that answers it: one straight road.
//!
//! Path, user, right, room, verb; whatever refuses on the way answers a `Status`, which becomes a response in one
//! place. Every road into the server (TLS, unix socket, this process) ends here.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use naru_api::{Reason, Status};
use naru_store::Prefix;

use crate::admission::notes::Notes;
use crate::aggregate::{self, Asked};
use crate::authentication::bootstrap::BOOTSTRAPPERS;
use crate::authentication::{Peer, admit, authenticate, impersonation, is_open, member};
use crate::authorization::{Attributes, nodes};
use crate::backup;
use crate::call::Call;
use crate::dataplanes;
use crate::extension;
use crate::fairness::Flow;
use crate::passage::Passage;
use crate::plain;
use crate::resource;
use crate::sealing;
use crate::skew;
use crate::state::Core;
use crate::subresource;
use crate::tunnel;
use crate::user::User;
use crate::wire::body::RequestBody;
use crate::wire::deadline;
use crate::wire::negotiate::{Accepted, Offer};
use crate::wire::path::{Path, ResourcePath, Verb};
use crate::wire::payload::Payload;
use crate::wire::query::Query;
use crate::wire::respond;

/// Answers a request.
pub(crate) async fn handle(
    core: &Arc<Core>,
    peer: &Peer,
    parts: Parts,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
) -> Response<Payload> {
    let passage = Passage::new(core, &parts);
    let result = route(core, peer, &parts, body, upgrade, &passage).await;
    let mut response = result.unwrap_or_else(|status| passage.refused(&status));
    passage.answered(&parts, &mut response);
    if !peer.local {
        respond::compress(&parts.headers, &mut response).await;
    }
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::warn!(method = %parts.method, path = parts.uri.path(), "a request failed");
    }
    passage.over(response.status());
    response
}

async fn route(
    core: &Arc<Core>,
    peer: &Peer,
    parts: &Parts,
    body: RequestBody,
    upgrade: Option<OnUpgrade>,
    passage: &Passage,
) -> Result<Response<Payload>, Status> {
    let (raw, headers) = (parts.uri.path(), &parts.headers);
    let path = Path::parse(raw).map_err(|e| Status::bad_request(e.to_string()))?;
    let query = Query::parse(parts.uri.query())?;
    let Path::Resource(path) = path else {
        return plain_path(core, peer, parts, &query, upgrade, passage).await;
    };
    let watch = query.flag("watch")? || path.watch;
    let verb = Verb::of(&parts.method, path.name.is_some() && !path.watch, watch).ok_or_else(|| no_method(parts))?;
    let request = Incoming { core, peer, parts, path: &path, query: &query, verb, headers, passage };
    request.answer(body, upgrade).await
}

struct Incoming<'a> {
    core: &'a Arc<Core>,
    peer: &'a Peer,
    parts: &'a Parts,
    path: &'a ResourcePath<'a>,
    query: &'a Query<'a>,
    verb: Verb,
    headers: &'a HeaderMap,
    passage: &'a Passage,
}

impl Incoming<'_> {
    async fn answer(self, body: RequestBody, upgrade: Option<OnUpgrade>) -> Result<Response<Payload>, Status> {
        let Self { core, path, .. } = self;
        let asked = self.attributes();
        let user = identify(core, self.peer, self.parts, &asked, &path.version, self.passage).await?;
        let flow = core.fairness.classify(&user, &asked);
        let result = match self.time()? {
            None => self.in_turn(&user, &asked, &flow, body, upgrade).await,
            Some(limit) => deadline::within(limit, self.in_turn(&user, &asked, &flow, body, upgrade)).await,
        };
        let mut response = result.unwrap_or_else(|status| self.passage.refused(&status));
        flow.mark(&mut response);
        Ok(response)
    }

    /// How long the request may take; none for what lasts as long as somebody wants.
    fn time(&self) -> Result<Option<Duration>, Status> {
        let forwarded = self.path.subresource.as_deref().is_some_and(subresource::is_forwarded);
        if self.verb == Verb::Watch || forwarded { Ok(None) } else { deadline::of(self.query).map(Some) }
    }

    /// Answers when it is the request's turn.
    async fn in_turn(
        &self,
        user: &Arc<User>,
        asked: &Attributes<'_>,
        flow: &Flow,
        body: RequestBody,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Payload>, Status> {
        let Self { core, path, .. } = self;
        // Logs and terminals run for as long as somebody wants to; a watch has its turn until it begins.
        let forwarded = path.subresource.as_deref().is_some_and(subresource::is_forwarded);
        let _turn = match forwarded {
            true => None,
            false => Some(core.fairness.enter(flow, || self.objects()).await?),
        };
        let judged = self.authorize(user, asked, upgrade.is_some());
        self.passage.judged(judged.is_ok(), || core.rbac.load().reason(user, asked));
        judged?;
        let serving = core.serving();
        let Some(route) = serving.routes.find(&path.group, &path.version, &path.resource) else {
            let remote = aggregate::find(core, &serving, &path.group, &path.version);
            let remote = remote.ok_or_else(respond::nothing_there)?;
            let asked = Asked { core, peer: self.peer, user, parts: self.parts, passage: self.passage };
            return aggregate::forward(&asked, &remote, body, upgrade).await;
        };
        self.passage.found(route, path, self.verb, self.parts);
        // A right in a namespace reaches a cluster-wide object in one case only: the namespace itself.
        let itself = path.group.is_empty() && path.resource == "namespaces" && path.name == path.namespace;
        if !route.kind.is_namespaced() && path.namespace.is_some() && !itself {
            return Err(Status::no_such_path());
        }
        let offer = Offer::of(route, self.verb, path.subresource.as_deref());
        // What is forwarded to a node may ask for anything; it is the node that answers.
        let accepted = if forwarded { Accepted::JSON } else { Accepted::of(self.headers, offer)? };
        let call = Call {
            core,
            user,
            route,
            path,
            query: self.query,
            raw_query: self.parts.uri.query(),
            method: &self.parts.method,
            headers: self.headers,
            verb: self.verb,
            accepted,
            notes: Notes::default(),
            passage: self.passage,
        };
        let result = self.work(&call, body, upgrade).await;
        self.passage.noted(&call.notes);
        let Some(deprecation) = extension::deprecation(&route.kind) else { return result };
        let mut response = result.unwrap_or_else(|status| self.passage.refused(&status));
        respond::warn(&mut response, &[deprecation]);
        Ok(response)
    }

    /// Does what a request asks for that its user may.
    async fn work(
        &self,
        call: &Call<'_>,
        body: RequestBody,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Payload>, Status> {
        let Self { path, .. } = self;
        if let Some(custom) = call.route.custom.as_ref().filter(|_| path.subresource.is_none())
            && self.verb == Verb::Create
        {
            custom.takes_objects()?;
        }
        let forwarded = path.subresource.as_deref().is_some_and(subresource::is_forwarded);
        if self.verb == Verb::Watch {
            return resource::answer(call, body).await;
        }
        if forwarded {
            return subresource::answer(call, body, upgrade).await;
        }
        let _held = self.passage.inflight(self.verb).hold();
        let body = self.passage.listen(body);
        if path.subresource.is_some() {
            subresource::answer(call, body, upgrade).await
        } else {
            resource::answer(call, body).await
        }
    }

    /// What a node may do beyond its role.
    fn judge_node(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        let snapshot = self.core.store.snapshot();
        nodes::judge(node, asked, &snapshot)?;
        match (asked.resource, asked.subresource) {
            ("nodes", "proxy") => nodes::judge_proxy(node, self.path.rest, self.query.get("name"), &snapshot),
            _ => Ok(()),
        }
    }

    /// What is to be done to what.
    fn attributes(&self) -> Attributes<'_> {
        let Self { path, query, .. } = self;
        let selector = query.get("fieldSelector").unwrap_or_default();
        // A list or watch of one name is judged as one of that object, so that rules with names can allow it.
        let single =
            selector.strip_prefix("metadata.name=").map(|n| n.trim_start_matches('=')).filter(|n| !n.contains(','));
        Attributes {
            verb: self.verb.as_str(),
            group: &path.group,
            resource: &path.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace: path.namespace.as_deref().unwrap_or_default(),
            name: path.name.as_deref().or(single).unwrap_or_default(),
            path: None,
        }
    }

    /// How many objects the request is about.
    fn objects(&self) -> usize {
        let Self { core, path, .. } = self;
        let whole = matches!(self.verb, Verb::List | Verb::DeleteCollection);
        let serving = core.serving();
        let route = serving.routes.find(&path.group, &path.version, &path.resource).filter(|_| whole);
        let Some(route) = route else { return 1 };
        let snapshot = core.store.snapshot();
        let all = snapshot.count(&Prefix::collection(&route.collection));
        let count = match path.namespace.as_deref() {
            // Counting what is in a namespace is a walk, which few objects are not worth.
            Some(namespace) if all > 1_000 => snapshot.count(&Prefix::namespace(&route.collection, namespace)),
            _ => all,
        };
        let limit = self.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        count.min(limit.unwrap_or(usize::MAX))
    }

    fn authorize(&self, user: &User, asked: &Attributes<'_>, upgrade: bool) -> Result<(), Status> {
        if user.is_master() {
            return Ok(());
        }
        let query = self.query;
        let rbac = self.core.rbac.load();
        let refuse = |asked: &Attributes<'_>| {
            let object = if asked.name.is_empty() { String::new() } else { format!(" {:?}", asked.name) };
            let group = if asked.group.is_empty() { String::new() } else { format!(".{}", asked.group) };
            let text = format!("{}{group}{object} is forbidden: {}", asked.resource, asked.refusal(&user.name));
            let mut status = Status::new(Reason::Forbidden, text);
            status.details = Some(Box::new(naru_api::status::Details {
                name: asked.name.to_owned(),
                group: asked.group.to_owned(),
                kind: asked.resource.to_owned(),
                ..Default::default()
            }));
            Err(status)
        };
        if !rbac.allows(user, asked) {
            return refuse(asked);
        }
        if let Some(node) = member::node_of(user)
            && let Err(why) = self.judge_node(node, asked)
        {
            let text = format!("{} {:?} is forbidden: {why}", asked.combined(), asked.name);
            return Err(Status::new(Reason::Forbidden, text));
        }
        // Running something in a container is a write, also when a browser-like client asks for it with GET.
        let runs = matches!(asked.subresource, "exec" | "attach" | "portforward");
        if upgrade && runs && asked.verb == "get" {
            let create = Attributes { verb: "create", ..*asked };
            if !rbac.allows(user, &create) {
                return refuse(&create);
            }
        }
        // To run as somebody else than the pod's author chose is more than Kubernetes' right to exec: a right of its own.
        let somebody_else = ["user", "privileged"].iter().any(|word| query.get(word).is_some());
        if asked.subresource == "exec" && somebody_else {
            let other = Attributes { verb: "create", subresource: "exec-as", ..*asked };
            if !rbac.allows(user, &other) {
                return refuse(&other);
            }
        }
        Ok(())
    }
}

async fn plain_path(
    core: &Arc<Core>,
    peer: &Peer,
    parts: &Parts,
    query: &Query<'_>,
    upgrade: Option<OnUpgrade>,
    passage: &Passage,
) -> Result<Response<Payload>, Status> {
    let path = parts.uri.path();
    let verb = parts.method.as_str().to_ascii_lowercase();
    let asked = Attributes { verb: &verb, path: Some(path), ..Attributes::default() };
    let why = |user: &User| core.rbac.load().reason(user, &asked);
    if plain::is_public(path) && is_open(core) {
        let anybody = User::anonymous();
        passage.begin(peer, parts, &anybody, &asked, "");
        passage.judged(true, || why(&anybody));
    } else {
        let user = identify(core, peer, parts, &asked, "", passage).await?;
        let flow = core.fairness.classify(&user, &asked);
        // What nodes keep open, and streams of the whole cluster, take no turn.
        let lasts = [naru_client::TUNNEL_PATH, backup::PATH, dataplanes::PATH].contains(&path);
        let _turn = if lasts { None } else { Some(core.fairness.enter(&flow, || 1).await?) };
        let allowed = core.rbac.load().allows(&user, &asked);
        passage.judged(allowed, || why(&user));
        if !allowed {
            return Err(Status::new(Reason::Forbidden, format!("forbidden: {}", asked.refusal(&user.name))));
        }
        if user.groups.iter().any(|group| group == BOOTSTRAPPERS) {
            skew::check(&parts.headers)?;
        }
        if path == naru_client::TUNNEL_PATH {
            skew::check_node(core, &user, &parts.headers)?;
            return tunnel::answer(core, &user, upgrade);
        }
        if path == backup::PATH {
            return backup::answer(core, &user, &parts.method);
        }
        if path == sealing::PATH {
            return sealing::answer(core, &user, &parts.method, query);
        }
        if path == dataplanes::PATH {
            return dataplanes::answer(core, &parts.method, query).await;
        }
        if let Some(remote) = aggregate::find_path(core, path).filter(|_| plain::is_read(&parts.method)) {
            let asked = Asked { core, peer, user: &user, parts, passage };
            return aggregate::forward(&asked, &remote, RequestBody::Process(naru_client::empty_body()), None).await;
        }
    }
    plain::serve(core, peer, &parts.method, path, query, &parts.headers).await
}

/// As whom a request is sent. Nobody in particular sends none here.
async fn identify(
    core: &Arc<Core>,
    peer: &Peer,
    parts: &Parts,
    asked: &Attributes<'_>,
    version: &str,
    passage: &Passage,
) -> Result<Arc<User>, Status> {
    let proved = authenticate(core, peer, &parts.headers)
        .await
        .inspect_err(|status| passage.turned_away(peer, parts, asked, version, status))?;
    passage.begin(peer, parts, &proved, asked, version);
    let user = impersonation::apply(core, proved.clone(), &parts.headers)?;
    passage.acts_as(&proved, &user);
    admit(core, &user, parts.uri.path())?;
    Ok(user)
}

fn no_method(parts: &Parts) -> Status {
    let text = format!("the method {} is not supported on {}", parts.method, parts.uri.path());
    Status::new(Reason::MethodNotAllowed, text)
}
