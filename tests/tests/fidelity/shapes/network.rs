//! Services of all types, their endpoints, and the rest of networking.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fidelity::shape::{Shape, Stage, dressed};

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    (0_u8..200, 0_u16..1000)
        .prop_flat_map(|(address, port)| dressed([services(address, 31_000 + port), endpoints(), others()].concat()))
}

/// Services that select pods, for which endpoints are made.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    dressed(vec![
        service("web", json!({})),
        service("headless", json!({"clusterIP": "None"})),
        service("selectorless", json!({"selector": null})),
    ])
}

fn service(name: &str, spec: Value) -> Shape {
    let content = json!({"spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}});
    Shape::new("v1", "services", "Service", Some("shop"), name, content).with_spec(spec)
}

fn services(address: u8, port: u16) -> Vec<Shape> {
    let ip = |offset: u8| format!("10.96.{offset}.{address}");
    let dns = json!([{"name": "udp", "port": 53, "protocol": "UDP", "nodePort": port},
        {"name": "tcp", "port": 53, "protocol": "TCP"}]);
    let applied = json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": ip(2), "ports": [{"port": 80,
        "nodePort": port + 2}]}});
    vec![
        service("auto", json!({})).stage(Stage::First),
        service("by-hand", json!({"clusterIP": ip(1)})).keeps(&["/spec/clusterIP", "/spec/clusterIPs"]),
        service("headless", json!({"clusterIP": "None", "publishNotReadyAddresses": true}))
            .keeps(&["/spec/clusterIP", "/spec/clusterIPs"]),
        service("node-auto", json!({"type": "NodePort"})).stage(Stage::First),
        service("node-by-hand", json!({"type": "NodePort", "ports": dns})).keeps(&["/spec/ports/0/nodePort"]),
        service(
            "applied",
            json!({"type": "NodePort", "clusterIP": ip(2), "ports": [{"port": 80,
            "nodePort": port + 2}]}),
        )
        .with(json!({"metadata": {"annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": applied.to_string()}}}))
        .keeps(&["/spec/clusterIP", "/spec/ports/0/nodePort"]),
        service("balanced", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})),
        service(
            "balanced-by-hand",
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": port + 4, "loadBalancerIP": "192.0.2.1",
                "loadBalancerSourceRanges": ["192.0.2.0/24"]}),
        )
        .keeps(&["/spec/healthCheckNodePort"]),
        service(
            "balanced-portless",
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "loadBalancerClass": "example.com/lb"}),
        ),
        external_name(),
        service("dual", json!({"ipFamilyPolicy": "RequireDualStack"})),
        service("dual-preferred", json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]})),
        service(
            "dual-by-hand",
            json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": ip(3),
            "clusterIPs": [ip(3), format!("fd00:96::{address:x}1")]}),
        )
        .keeps(&["/spec/clusterIPs"]),
        service("six", json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]})),
        service(
            "sticky",
            json!({"sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.7"],
            "internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose"}),
        ),
        service("selectorless", json!({"selector": null})),
        service("selectorless-sliced", json!({"selector": null, "clusterIP": "None"})),
    ]
}

fn external_name() -> Shape {
    let content = json!({"spec": {"type": "ExternalName", "externalName": "db.example.com"}});
    Shape::new("v1", "services", "Service", Some("shop"), "external", content)
}

fn endpoints() -> Vec<Shape> {
    let endpoints = |name: &str| {
        let content =
            json!({"subsets": [{"addresses": [{"ip": "192.0.2.8"}], "ports": [{"name": "http", "port": 80}]}]});
        Shape::new("v1", "endpoints", "Endpoints", Some("shop"), name, content)
    };
    let slice = |name: &str, managed: &str| {
        let labels = json!({"kubernetes.io/service-name": "selectorless-sliced",
            "endpointslice.kubernetes.io/managed-by": managed});
        let content = json!({"metadata": {"labels": labels}, "addressType": "IPv4", "ports": [{"name": "",
            "port": 80}],
            "endpoints": [{"addresses": ["192.0.2.9"], "conditions": {"ready": true}}]});
        Shape::new("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", Some("shop"), name, content)
    };
    let managed = json!({"metadata": {"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}}});
    vec![
        endpoints("selectorless"),
        endpoints("auto").skipped(132),
        endpoints("leftover").with(managed).skipped(132),
        slice("by-hand", "staff"),
        slice("controlled", "endpointslice-controller.k8s.io").skipped(131),
        slice("mirrored", "endpointslicemirroring-controller.k8s.io").skipped(131),
    ]
}

fn others() -> Vec<Shape> {
    const GROUP: &str = "networking.k8s.io/v1";
    let backend = json!({"service": {"name": "auto", "port": {"name": "http"}}});
    let peers = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "db-1"}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.96.0.0/16"]}}]);
    vec![
        Shape::new(
            GROUP,
            "ingressclasses",
            "IngressClass",
            None,
            "edge",
            json!({"metadata": {"annotations": {
            "ingressclass.kubernetes.io/is-default-class": "true"}}, "spec": {"controller": "example.com/edge"}}),
        ),
        Shape::new(
            GROUP,
            "ingresses",
            "Ingress",
            Some("shop"),
            "front",
            json!({"spec": {
            "ingressClassName": "edge", "tls": [{"hosts": ["*.example.com"], "secretName": "cert"}],
            "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": backend}]}}]}}),
        ),
        Shape::new(
            GROUP,
            "ingresses",
            "Ingress",
            Some("shop"),
            "default-class",
            json!({"spec": {"defaultBackend": backend}}),
        ),
        Shape::new(
            GROUP,
            "networkpolicies",
            "NetworkPolicy",
            Some("shop"),
            "peers",
            json!({"spec": {
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": peers}],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 8000, "endPort": 9000}]}]}}),
        ),
        Shape::new(GROUP, "servicecidrs", "ServiceCIDR", None, "more", json!({"spec": {"cidrs": ["10.112.0.0/24"]}}))
            .stage(Stage::First),
    ]
}
