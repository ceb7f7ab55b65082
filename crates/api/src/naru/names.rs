//! Labels and annotations of ours, and the foreign ones that several rooms write or read.

/// Our API group.
pub const GROUP: &str = "naru.io";

// -- labels

/// Label: the Compose project that an object belongs to.
pub const PROJECT: &str = "naru.io/project";
/// Label: the Compose service that an object belongs to.
pub const SERVICE: &str = "naru.io/service";
/// Label: the lowest free number of a service's pod, from 1 (`web-1`).
pub const ORDINAL: &str = "naru.io/ordinal";
/// Label on pods that other tools look for: the project.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// Label on pods that other tools look for: the service.
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Label on pods that other tools look for: the number of the container.
pub const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
/// Label on pods that other tools look for: `True` for `run`.
pub const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";

// -- annotations of pod templates

/// `no`, `on-failure[:n]`, `always`, `unless-stopped`.
pub const RESTART: &str = "naru.io/restart";
/// On a pod: `running`, `stopped`, `paused`, `restart@<n>`.
pub const POWER: &str = "naru.io/power";
/// On a pod: seconds between the stop signal and KILL for what [`POWER`] stops or restarts.
pub const POWER_GRACE: &str = "naru.io/power-grace";
/// JSON `[{"name":"<Network>","aliases":["db"],"ip":null}]`.
pub const NETWORKS: &str = "naru.io/networks";
/// JSON `[{"service":"db","condition":"service_healthy","required":true}]`.
pub const START_GATES: &str = "naru.io/start-gates";
/// JSON: container name → paths of image volumes that are anonymous volumes.
pub const VOLUMES_FROM_IMAGE: &str = "naru.io/volumes-from-image";
/// JSON list of claim or volume names that are filled from the image's folder at first use.
pub const COPY_UP: &str = "naru.io/copy-up";
/// On a Service, JSON `[{"containerPort":80,"hostPort":8080,"hostIP":"","protocol":"TCP"}]`.
pub const PORTS: &str = "naru.io/ports";
/// On a Service: `true` makes the virtual IP answer on every port.
pub const ALL_PORTS: &str = "naru.io/all-ports";
/// `false` turns off the restart of unhealthy containers.
pub const HEALTHCHECK_RESTART: &str = "naru.io/healthcheck-restart";
/// `true` ignores the health check that an image brings along.
pub const NO_HEALTHCHECK: &str = "naru.io/no-healthcheck";
/// Condition of a pod: its message names the containers, parted by spaces, whose health is tested by their image's test.
pub const IMAGE_HEALTH: &str = "naru.io/ImageHealth";
/// Condition of a pod under Docker's rules, there while containers run that their health test found unhealthy and that are
/// not restarted for it; its message is written and read by [`super::health`].
pub const UNHEALTHY: &str = "naru.io/Unhealthy";
/// The signal that stops the container.
pub const STOP_SIGNAL: &str = "naru.io/stop-signal";
/// Size of `/dev/shm`.
pub const SHM_SIZE: &str = "naru.io/shm-size";
/// JSON: resource limits of processes.
pub const ULIMITS: &str = "naru.io/ulimits";
/// `true` runs a small init as the first process.
pub const INIT: &str = "naru.io/init";
/// JSON `{"max-size","max-file"}`.
pub const LOGGING: &str = "naru.io/logging";
/// JSON: host devices.
pub const DEVICES: &str = "naru.io/devices";
/// `true` gives the container a terminal.
pub const TTY: &str = "naru.io/tty";
/// The container's score for the kernel's out-of-memory choice.
pub const OOM_SCORE_ADJ: &str = "naru.io/oom-score-adj";
/// JSON: cpu_shares, cpuset, blkio, pids and kin.
pub const CGROUP: &str = "naru.io/cgroup";

// -- names of Kubernetes that several rooms use

/// Label of a node: its name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of a namespace: its own name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label of a Deployment's pods and ReplicaSets: the hash of the template.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation of a Deployment and its ReplicaSets: the revision.
pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation set by `kubectl apply`.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Label of an EndpointSlice: its Service.
pub const SLICE_SERVICE: &str = "kubernetes.io/service-name";
/// Label of an EndpointSlice: who manages it.
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label of an IPAddress: `IPv4` or `IPv6`.
pub const ADDRESS_FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// Label of an IPAddress: who manages it.
pub const ADDRESS_MANAGER: &str = "ipaddress.kubernetes.io/managed-by";
/// The manager of Services' IPAddresses.
pub const ADDRESS_ALLOCATOR: &str = "ipallocator.k8s.io";
/// Finalizer of a ServiceCIDR whose addresses are in use.
pub const SERVICE_CIDR_FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Finalizer: delete dependants first.
pub const FOREGROUND_DELETION: &str = "foregroundDeletion";
/// Finalizer: leave dependants behind.
pub const ORPHAN: &str = "orphan";

// -- more annotations of Compose's
/// The name as people wrote it, where the object's name is made from it (`my_shop`).
pub const TITLE: &str = "naru.io/title";
/// On a pod template: `user[:group]`, names or numbers, resolved in the image; stands over `runAsUser`.
pub const USER: &str = "naru.io/user";
/// On a pod template: JSON list of further groups, names or numbers.
pub const GROUP_ADD: &str = "naru.io/group-add";
/// On a Node: its WireGuard key, which it writes itself.
pub const WIREGUARD_KEY: &str = "naru.io/wireguard-key";
/// On a Node: where its encrypted packets are taken (`address:port`), when not at its address.
pub const WIREGUARD_ENDPOINT: &str = "naru.io/wireguard-endpoint";
/// On a Node: any new word makes it take a new WireGuard key.
pub const WIREGUARD_ROTATE: &str = "naru.io/wireguard-rotate";
/// On a Node: `true` when its address cannot be reached from outside of its network.
pub const BEHIND_NAT: &str = "naru.io/behind-nat";
/// On a server's Node: JSON of what is the same for the network of all nodes.
pub const CLUSTER_NETWORK: &str = "naru.io/cluster-network";
/// On a pod template: `none` gives the pod no link but its loopback.
pub const NETWORK_MODE: &str = "naru.io/network-mode";
/// On a Deployment: JSON `{"parallelism","delay","order","monitor","maxFailureRatio","failureAction"}`, times in
/// milliseconds.
pub const UPDATE: &str = "naru.io/update";
/// On a Deployment: as [`UPDATE`], for the way back.
pub const ROLLBACK: &str = "naru.io/rollback";
/// On a pod template: JSON list of names that mean the node itself (`extra_hosts: name:host-gateway`).
pub const HOST_GATEWAY_NAMES: &str = "naru.io/host-gateway-names";
/// On a pod template: the domain name that the pod sees.
pub const DOMAINNAME: &str = "naru.io/domainname";
/// On a pod template: `host` gives the pod the machine's own host name.
pub const UTS: &str = "naru.io/uts";
/// On a pod template: JSON, container name → `{"postStart":[…],"preStop":[…]}`, each a list of
/// `{"command","user","privileged","working_dir","environment"}`; stands over the container's `lifecycle`.
pub const HOOKS: &str = "naru.io/hooks";
/// On a pod template: JSON, volume name → `{"uid","gid","mode"}` of its files, or of the folder of one in memory.
pub const VOLUME_OWNERS: &str = "naru.io/volume-owners";
/// On a pod template: how many pods of its service a node takes at most.
pub const MAX_PER_NODE: &str = "naru.io/max-replicas-per-node";
/// On a pod template: which version of its service's template it is; start gates may wait for that very one.
pub const TEMPLATE: &str = "naru.io/template";
/// The container's name that the user chose; answers in DNS.
pub const CONTAINER_NAME: &str = "naru.io/container-name";

// -- written by controllers alone
/// On a ReplicaSet: `true` makes a replacement wait until what it replaces is gone.
pub const STOP_FIRST: &str = "naru.io/stop-first";
/// On a ReplicaSet: its rollout has ended well, so that later failures are no failures of the update.
pub const SETTLED: &str = "naru.io/settled";
/// On a Deployment: JSON `{"from","to","message"}`, why and to which template the last failed update was taken back.
pub const ROLLED_BACK: &str = "naru.io/rolled-back";
/// On a Deployment: JSON `{"of","message","resumed"}`, why the update to the template of that hash was paused, and
/// whether somebody has told it to go on nevertheless.
pub const UPDATE_PAUSED: &str = "naru.io/update-paused";
/// Condition of a Deployment: the last update failed and was taken back.
pub const ROLLED_BACK_CONDITION: &str = "naru.io/RolledBack";

// -- written by the server alone
/// On every object of a project: what was last applied, so that the next time only its own fields are taken away.
pub const PROJECT_APPLIED: &str = "naru.io/last-applied";
