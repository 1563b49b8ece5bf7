//! Addresses and ports of Services: which were chosen by hand, and which were given by the server.

use std::borrow::Cow;

use lifeboat_model::ResourceType;
use serde_json::{Map, Value};

use super::field::{Applied, Fields, get, get_mut, kinds, list, list_mut, remove, remove_all, text};
use super::prepare::Transforms;

const CLUSTER_IP: &[&str] = &["spec", "clusterIP"];
const CLUSTER_IPS: &[&str] = &["spec", "clusterIPs"];
const HEALTH_PORT: &[&str] = &["spec", "healthCheckNodePort"];
const NODE_PORTS: &str = "spec.ports[*].nodePort";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether the object came from a server, which may have given it addresses. One without a uid is somebody's own
/// document, in which everything is chosen by hand.
fn came_from_server(object: &Value) -> bool {
    text(object, &["metadata", "uid"]).is_some()
}

/// What managers of the object's fields wrote into `spec`. Addresses that the server gives do not show there: it notes
/// the fields of a request before it allocates.
/// Source: `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/create.go`,
/// `pkg/registry/core/service/storage/storage.go`.
fn managed_specs(object: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    let entries = list(object, &["metadata", "managedFields"]).iter();
    entries.filter_map(|entry| get(entry, &["fieldsV1", "f:spec"]).and_then(Value::as_object))
}

/// `spec` as `kubectl apply` was given it.
fn applied_spec(object: &Value) -> Option<Value> {
    let document = text(object, &["metadata", "annotations", LAST_APPLIED])?;
    let mut document: Value = serde_json::from_str(document).ok()?;
    remove(&mut document, &["spec"])
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(_) => true,
    }
}

fn chose_field(object: &Value, names: &[&str]) -> bool {
    let managed = managed_specs(object).any(|spec| names.iter().any(|name| spec.contains_key(&format!("f:{name}"))));
    managed || applied_spec(object).is_some_and(|spec| names.iter().any(|name| is_set(spec.get(name))))
}

fn chose_node_port(object: &Value, port: &Value) -> bool {
    let same = |other: &Value| {
        let protocol = |port: &Value| text(port, &["protocol"]).unwrap_or("TCP").to_owned();
        other.get("port") == port.get("port") && protocol(other) == protocol(port)
    };
    let managed = managed_specs(object).filter_map(|spec| spec.get("f:ports")?.as_object()).any(|ports| {
        ports.iter().any(|(key, fields)| {
            let key = key.strip_prefix("k:").and_then(|key| serde_json::from_str(key).ok());
            fields.get("f:nodePort").is_some() && key.is_some_and(|key| same(&key))
        })
    });
    managed
        || applied_spec(object).is_some_and(|spec| {
            list(&spec, &["ports"]).iter().any(|other| same(other) && is_set(other.get("nodePort")))
        })
}

/// Strip rule: cluster IPs that the server gave.
pub(super) fn strip_cluster_ips(object: &mut Value, transforms: &Transforms) -> Fields {
    let headless = text(object, CLUSTER_IP) == Some("None");
    let mapped =
        || text(object, &["metadata", "namespace"]).is_some_and(|name| transforms.namespaces.contains_key(name));
    let kept = transforms.keep_cluster_ips && !mapped();
    if headless || kept || !came_from_server(object) || chose_field(object, &["clusterIP", "clusterIPs"]) {
        return Vec::new();
    }
    remove_all(object, &[CLUSTER_IP, CLUSTER_IPS])
}

/// Strip rule: node ports that the server gave.
pub(super) fn strip_node_ports(object: &mut Value, transforms: &Transforms) -> Fields {
    if transforms.keep_node_ports || !came_from_server(object) {
        return Vec::new();
    }
    let ports = list(object, &["spec", "ports"]).iter();
    let given: Vec<bool> = ports.map(|port| is_set(port.get("nodePort")) && !chose_node_port(object, port)).collect();
    take_node_ports(object, &given)
}

/// Strip rule: a health check port that the server gave.
pub(super) fn strip_health_port(object: &mut Value, transforms: &Transforms) -> Fields {
    if transforms.keep_node_ports || !came_from_server(object) || chose_field(object, &["healthCheckNodePort"]) {
        return Vec::new();
    }
    remove_all(object, &[HEALTH_PORT])
}

fn take_node_ports(object: &mut Value, which: &[bool]) -> Fields {
    for (port, _) in list_mut(object, &["spec", "ports"]).iter_mut().zip(which).filter(|(_, take)| **take) {
        remove(port, &["nodePort"]);
    }
    if which.contains(&true) { vec![Cow::Borrowed(NODE_PORTS)] } else { Vec::new() }
}

/// Whether a prepared object asks for addresses or ports that the server would otherwise give to others: such objects
/// are to be created before the rest of their wave.
pub fn asks_for_addresses(resource: &ResourceType, object: &Value) -> bool {
    let address = text(object, CLUSTER_IP).is_some_and(|address| !address.is_empty() && address != "None");
    let port = || list(object, &["spec", "ports"]).iter().any(|port| is_set(port.get("nodePort")));
    kinds::SERVICE.is(resource) && (address || is_set(get(object, HEALTH_PORT)) || port())
}

/// Takes out of a prepared object the addresses and ports that it asks for, for a server that refused them.
pub fn release_addresses(object: &mut Value, resource: &ResourceType) -> Vec<Applied> {
    if !asks_for_addresses(resource, object) {
        return Vec::new();
    }
    let headless = text(object, CLUSTER_IP) == Some("None");
    let addresses = if headless { Vec::new() } else { remove_all(object, &[CLUSTER_IP, CLUSTER_IPS]) };
    let given: Vec<bool> = list(object, &["spec", "ports"]).iter().map(|port| is_set(port.get("nodePort"))).collect();
    let groups = [(210, addresses), (211, take_node_ports(object, &given)), (212, remove_all(object, &[HEALTH_PORT]))];
    groups.into_iter().flat_map(|(rule, fields)| fields.into_iter().map(move |field| Applied { rule, field })).collect()
}

/// Carry rule: the addresses and ports of the live Service, where the wanted one asks for none.
/// Source: `patchAllocatedValues` of `pkg/registry/core/service/storage/storage.go`.
pub(super) fn carry(live: &Value, wanted: &mut Value) -> Fields {
    let kind = |object: &Value| text(object, &["spec", "type"]).unwrap_or("ClusterIP").to_owned();
    let (was, is) = (kind(live), kind(wanted));
    let (needs_ip, needs_port) =
        (|kind: &str| kind != "ExternalName", |kind: &str| matches!(kind, "NodePort" | "LoadBalancer"));
    let mut fields = Vec::new();
    if needs_ip(&was) && needs_ip(&is) && !is_set(get(wanted, CLUSTER_IP)) {
        fields.extend([CLUSTER_IP, CLUSTER_IPS].iter().filter_map(|path| copy(live, wanted, path)));
    }
    if needs_port(&was) && needs_port(&is) {
        if carry_node_ports(live, wanted) {
            fields.push(Cow::Borrowed(NODE_PORTS));
        }
        if !is_set(get(wanted, HEALTH_PORT)) {
            fields.extend(copy(live, wanted, HEALTH_PORT));
        }
    }
    fields
}

fn copy(live: &Value, wanted: &mut Value, path: &[&'static str]) -> Option<Cow<'static, str>> {
    let value = get(live, path).filter(|value| is_set(Some(value)))?.clone();
    let spec = get_mut(wanted, &["spec"])?.as_object_mut()?;
    spec.insert((*path.last()?).to_owned(), value);
    Some(Cow::Owned(path.join(".")))
}

/// Ports are the same by name, as for the server; a port of the live object that the wanted one asks for elsewhere is
/// not given twice.
fn carry_node_ports(live: &Value, wanted: &mut Value) -> bool {
    let name = |port: &Value| text(port, &["name"]).unwrap_or_default().to_owned();
    let number = |port: &Value| port.get("nodePort").filter(|number| is_set(Some(number))).cloned();
    let asked: Vec<Value> = list(wanted, &["spec", "ports"]).iter().filter_map(number).collect();
    let mut carried = false;
    for port in list_mut(wanted, &["spec", "ports"]) {
        let same = list(live, &["spec", "ports"]).iter().find(|other| name(other) == name(port));
        let given = same.and_then(number).filter(|given| !asked.contains(given));
        if let (None, Some(given), Some(members)) = (number(port), given, port.as_object_mut()) {
            members.insert("nodePort".to_owned(), given);
            carried = true;
        }
    }
    carried
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::prepare::prepare;
    use super::super::testing::resource;
    use super::*;

    fn service(managed: &Value, annotations: &Value) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "5",
                "annotations": annotations,
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": managed}}]},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "healthCheckNodePort": 31000, "externalTrafficPolicy": "Local", "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080},
                {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]},
        })
    }

    fn prepared(mut object: Value, transforms: &Transforms) -> Value {
        prepare(&mut object, &resource("", "services"), transforms).unwrap();
        object["spec"].take()
    }

    #[test]
    fn what_the_server_gave_goes() {
        let spec = prepared(service(&json!({"f:ports": {}, "f:type": {}}), &json!({})), &Transforms::default());
        assert_eq!(spec["clusterIP"], Value::Null);
        assert_eq!(spec["clusterIPs"], Value::Null);
        assert_eq!(spec["healthCheckNodePort"], Value::Null);
        assert!(list(&spec, &["ports"]).iter().all(|port| port.get("nodePort").is_none()), "{spec}");
        assert_eq!(spec["ports"][0]["port"], 80);
    }

    #[test]
    fn what_was_chosen_by_hand_stays() {
        let managed = json!({"f:clusterIP": {}, "f:healthCheckNodePort": {},
            "f:ports": {"k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:nodePort": {}}}});
        let spec = prepared(service(&managed, &json!({})), &Transforms::default());
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.9"]));
        assert_eq!(spec["healthCheckNodePort"], 31000);
        assert_eq!(spec["ports"][0].get("nodePort"), None);
        assert_eq!(spec["ports"][1]["nodePort"], 30053);
    }

    #[test]
    fn what_kubectl_applied_stays() {
        let applied =
            json!({"spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}]}}).to_string();
        let annotations = json!({LAST_APPLIED: applied});
        let spec = prepared(service(&json!({}), &annotations), &Transforms::default());
        assert_eq!(spec["clusterIP"], "10.96.0.9");
        assert_eq!(spec["ports"][0]["nodePort"], 30080);
        assert_eq!(spec["ports"][1].get("nodePort"), None);
        let unreadable = prepared(service(&json!({}), &json!({LAST_APPLIED: "{"})), &Transforms::default());
        assert_eq!(unreadable.get("clusterIP"), None);
    }

    #[test]
    fn node_ports_stay_on_request() {
        let transforms = Transforms { keep_node_ports: true, ..Transforms::default() };
        let spec = prepared(service(&json!({}), &json!({})), &transforms);
        assert_eq!((&spec["healthCheckNodePort"], &spec["ports"][0]["nodePort"]), (&json!(31000), &json!(30080)));
        assert_eq!(spec.get("clusterIP"), None);
    }

    #[test]
    fn cluster_ips_stay_where_they_came_from() {
        let transforms = Transforms { keep_cluster_ips: true, ..Transforms::default() };
        let spec = prepared(service(&json!({}), &json!({})), &transforms);
        assert_eq!((&spec["clusterIP"], &spec["clusterIPs"]), (&json!("10.96.0.9"), &json!(["10.96.0.9"])));
        assert_eq!(spec["ports"][0].get("nodePort"), None);
        let namespaces = [("shop".to_owned(), "copy".to_owned())].into();
        let spec = prepared(service(&json!({}), &json!({})), &Transforms { namespaces, ..transforms });
        assert_eq!(spec.get("clusterIP"), None, "the Service that it is a copy of has it");
    }

    #[test]
    fn a_headless_service_stays_headless_and_a_document_without_uid_as_it_is() {
        let mut headless = service(&json!({}), &json!({}));
        headless["spec"]["clusterIP"] = json!("None");
        headless["spec"]["clusterIPs"] = json!(["None"]);
        assert_eq!(prepared(headless, &Transforms::default())["clusterIPs"], json!(["None"]));
        let mut document = service(&json!({}), &json!({}));
        document["metadata"].as_object_mut().unwrap().remove("uid");
        let spec = document["spec"].clone();
        assert_eq!(prepared(document, &Transforms::default()), spec);
    }

    #[test]
    fn addresses_can_be_given_back() {
        let services = resource("", "services");
        let mut object = service(&json!({}), &json!({}));
        assert!(asks_for_addresses(&services, &object));
        assert!(!asks_for_addresses(&resource("example.com", "services"), &object));
        let applied = release_addresses(&mut object, &services);
        assert_eq!(applied.iter().map(|applied| applied.rule).collect::<Vec<_>>(), [210, 210, 211, 212]);
        assert!(!asks_for_addresses(&services, &object));
        assert_eq!(release_addresses(&mut object, &services), []);
    }

    #[test]
    fn a_replacement_keeps_what_the_live_service_has() {
        let live = service(&json!({}), &json!({}));
        let mut wanted = live.clone();
        release_addresses(&mut wanted, &resource("", "services"));
        assert_eq!(carry(&live, &mut wanted).len(), 4);
        assert_eq!(wanted, live);
        let mut moved = live.clone();
        moved["spec"]["ports"] = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "nodePort": 30080}]);
        carry(&live, &mut moved);
        assert_eq!(moved["spec"]["ports"][0].get("nodePort"), None, "it was asked for by the other");
        let mut external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
        assert_eq!(carry(&live, &mut external), Fields::new());
    }
}
