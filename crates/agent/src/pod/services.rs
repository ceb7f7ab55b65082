//! Services as environment variables (`enableServiceLinks`).

use std::collections::BTreeMap;

use naru_api::k8s::api::core::v1::Service;

/// What the variables need of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceView {
    /// Its virtual address; absent when it has none.
    pub address: Option<String>,
    /// Port name, number and protocol.
    pub ports: Vec<(String, i32, String)>,
}

impl ServiceView {
    /// From the object.
    pub fn of(service: &Service) -> ServiceView {
        let spec = service.spec.as_ref();
        let address = spec.and_then(|spec| spec.cluster_ip.clone()).filter(|ip| !ip.is_empty() && ip != "None");
        let ports = spec.into_iter().flat_map(|spec| spec.ports.iter().flatten());
        let ports = ports.map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            (port.name.clone().unwrap_or_default(), port.port, protocol)
        });
        ServiceView { address, ports: ports.collect() }
    }
}

/// The variables of services by name. Services without an address or port have none.
pub(crate) fn service_variables<'a>(
    services: impl Iterator<Item = (&'a str, &'a ServiceView)>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, service) in services {
        let (Some(address), Some((_, first, _))) = (&service.address, service.ports.first()) else { continue };
        let prefix = upper(name);
        variables.insert(format!("{prefix}_SERVICE_HOST"), address.clone());
        variables.insert(format!("{prefix}_SERVICE_PORT"), first.to_string());
        for (at, (port_name, port, protocol)) in service.ports.iter().enumerate() {
            let lower = protocol.to_ascii_lowercase();
            let url = format!("{lower}://{address}:{port}");
            if !port_name.is_empty() {
                variables.insert(format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.to_string());
            }
            if at == 0 {
                variables.insert(format!("{prefix}_PORT"), url.clone());
            }
            let stem = format!("{prefix}_PORT_{port}_{protocol}");
            variables.insert(format!("{stem}_PROTO"), lower);
            variables.insert(format!("{stem}_PORT"), port.to_string());
            variables.insert(format!("{stem}_ADDR"), address.clone());
            variables.insert(stem, url);
        }
    }
    variables
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_kubernetes_and_dockers() {
        let service = ServiceView { address: Some("10.43.0.5".into()), ports: vec![("http".into(), 80, "TCP".into())] };
        let headless = ServiceView { address: None, ports: vec![(String::new(), 1, "TCP".into())] };
        let variables = service_variables([("my-web", &service), ("none", &headless)].into_iter());
        assert_eq!(variables["MY_WEB_SERVICE_HOST"], "10.43.0.5");
        assert_eq!(variables["MY_WEB_SERVICE_PORT_HTTP"], "80");
        assert_eq!(variables["MY_WEB_PORT"], "tcp://10.43.0.5:80");
        assert_eq!(variables["MY_WEB_PORT_80_TCP_ADDR"], "10.43.0.5");
        assert_eq!(variables.len(), 8);
    }
}
