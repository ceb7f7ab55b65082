use super::*;

/// A small world: one Deployment and its sets as JSON, and pods that become ready when told. It applies plans as the
/// server would and plays the ReplicaSet controller.
pub(super) struct World {
    pub(super) deployment: Value,
    pub(super) sets: Vec<Value>,
    /// Pods by set: (name, ready since, extra status).
    pub(super) pods: Vec<(String, Value)>,
    pub(super) now: i64,
    pub(super) counter: u32,
    /// Pods on their way out stay until told.
    pub(super) linger: bool,
    pub(super) notices: Vec<String>,
    /// The most pods there ever were.
    pub(super) most: usize,
}

pub(super) fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

impl World {
    pub(super) fn new(replicas: i32, spec: Value, annotations: Value) -> Self {
        let mut deployment = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "d", "generation": 1, "resourceVersion": "1", "annotations": annotations },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template("v1"),
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } },
        });
        merge(&mut deployment, &json!({ "spec": spec }));
        World { deployment, sets: vec![], pods: vec![], now: 0, counter: 0, linger: false, notices: vec![], most: 0 }
    }

    pub(super) fn view(&self) -> View {
        let sets: Vec<Arc<ReplicaSet>> = self.sets.iter().map(|set| Arc::new(view(set.clone()))).collect();
        let pods_of = |set: &Arc<ReplicaSet>| {
            let own = self.pods.iter().filter(|(uid, _)| *uid == set.metadata.uid);
            (set.metadata.uid.clone(), own.map(|(_, pod)| Arc::new(view(pod.clone()))).collect())
        };
        let pods = sets.iter().map(pods_of).collect();
        View { deployment: Arc::new(view(self.deployment.clone())), sets, pods, ..View::default() }
    }

    pub(super) fn time(&self) -> Timestamp {
        at(self.now).parse().unwrap()
    }

    /// One turn of the Deployment controller.
    pub(super) fn turn(&mut self) -> Plan {
        let plan = plan(&self.view(), self.time());
        for write in &plan.writes {
            self.apply(write);
        }
        self.notices.extend(plan.notices.iter().map(|notice| notice.message.clone()));
        plan
    }

    pub(super) fn apply(&mut self, write: &Write) {
        match write {
            Write::Create { object, .. } => {
                self.counter += 1;
                let mut set = object.clone();
                let uid = format!("set{}", self.counter);
                merge(
                    &mut set,
                    &json!({ "metadata": { "uid": uid, "generation": 1, "creationTimestamp": at(self.counter.into()), "resourceVersion": "1" } }),
                );
                self.sets.push(set);
            }
            Write::Patch { resource, key, kind, patch, .. } => {
                let sets = &mut self.sets;
                let object = if resource.kind == "Deployment" {
                    &mut self.deployment
                } else {
                    sets.iter_mut().find(|set| set["metadata"]["name"] == *key.name).unwrap()
                };
                let spec = object["spec"].clone();
                if *kind == PatchKind::Json {
                    for operation in patch.as_array().unwrap() {
                        match operation["op"].as_str().unwrap() {
                            "replace" => {
                                *object.pointer_mut(operation["path"].as_str().unwrap()).unwrap() =
                                    operation["value"].clone()
                            }
                            "add" if operation["path"] == "/metadata/resourceVersion" => {
                                assert_eq!(object["metadata"]["resourceVersion"], operation["value"])
                            }
                            _ => {
                                let name =
                                    operation["path"].as_str().unwrap().rsplit('/').next().unwrap().replace("~1", "/");
                                object["metadata"]["annotations"][name] = operation["value"].clone();
                            }
                        }
                    }
                } else {
                    merge(object, patch);
                }
                if object["spec"] != spec {
                    object["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap() + 1).into();
                }
            }
            Write::Delete { key, .. } => self.sets.retain(|set| set["metadata"]["name"] != *key.name),
            Write::Post { .. } | Write::Put { .. } => unreachable!("nothing is posted"),
        }
    }

    /// The ReplicaSet controller: creates and deletes pods, counts them.
    pub(super) fn replicate(&mut self) {
        for index in 0..self.sets.len() {
            let set = &self.sets[index];
            let uid = set["metadata"]["uid"].as_str().unwrap().to_owned();
            let wanted = set["spec"]["replicas"].as_u64().unwrap() as usize;
            let active: Vec<usize> = (0..self.pods.len())
                .filter(|i| self.pods[*i].0 == uid && self.pods[*i].1["metadata"].get("deletionTimestamp").is_none())
                .collect();
            for index in active.iter().skip(wanted).rev() {
                if self.linger {
                    self.pods[*index].1["metadata"]["deletionTimestamp"] = at(self.now).into();
                } else {
                    self.pods.remove(*index);
                }
            }
            for _ in active.len()..wanted {
                self.counter += 1;
                let name = format!("p{}", self.counter);
                self.pods
                    .push((uid.clone(), json!({ "metadata": { "name": name }, "status": { "phase": "Running" } })));
            }
        }
        self.most = self.most.max(self.pods.len());
        self.count();
    }

    pub(super) fn count(&mut self) {
        for set in &mut self.sets {
            let own: Vec<_> = self
                .pods
                .iter()
                .filter(|(uid, pod)| {
                    set["metadata"]["uid"] == **uid && pod["metadata"].get("deletionTimestamp").is_none()
                })
                .collect();
            let ready = own.iter().filter(|(_, pod)| pod["status"]["conditions"][0]["status"] == "True").count();
            set["status"] = json!({ "observedGeneration": set["metadata"]["generation"], "replicas": own.len(), "readyReplicas": ready, "availableReplicas": ready });
        }
    }

    pub(super) fn ready(&mut self) {
        for (_, pod) in &mut self.pods {
            if pod["status"].get("conditions").is_none() && pod["status"].get("containerStatuses").is_none() {
                pod["status"]["conditions"] =
                    json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at(self.now) }]);
                pod["status"]["startTime"] = at(self.now).into();
            }
        }
        self.count();
    }

    /// Runs both controllers until nothing changes; pods become ready at once.
    pub(super) fn settle(&mut self) {
        for _ in 0..200 {
            let before = (self.deployment.clone(), self.sets.clone(), self.pods.clone());
            self.turn();
            self.replicate();
            self.ready();
            if before == (self.deployment.clone(), self.sets.clone(), self.pods.clone()) {
                return;
            }
        }
        panic!("it never settles: {:#}", self.deployment);
    }

    pub(super) fn image(&mut self, image: &str) {
        self.deployment["spec"]["template"] = template(image);
        self.bump();
    }

    pub(super) fn bump(&mut self) {
        self.deployment["metadata"]["generation"] =
            (self.deployment["metadata"]["generation"].as_i64().unwrap() + 1).into();
    }

    /// The sizes by image.
    pub(super) fn sizes(&self) -> Vec<(String, i64)> {
        let image =
            |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        self.sets.iter().map(|set| (image(set), set["spec"]["replicas"].as_i64().unwrap())).collect()
    }

    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    pub(super) fn revision(&self) -> &str {
        self.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap()
    }
}

pub(super) fn sized(sizes: &[(&str, i64)]) -> Vec<(String, i64)> {
    sizes.iter().map(|(image, size)| ((*image).to_owned(), *size)).collect()
}
