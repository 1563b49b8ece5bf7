//! Classes, volumes and claims.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fidelity::shape::{Act, Shape, Stage, dressed};

const GROUP: &str = "storage.k8s.io/v1";

/// All of this family.
pub(crate) fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    dressed([classes(), volumes(), claims()].concat())
}

/// A volume and its claim, which a controller binds, each by the other's name.
pub(crate) fn controlled() -> impl Strategy<Value = Vec<Shape>> {
    let volume = json!({"spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "disk.example.com", "volumeHandle": "h"}}});
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "kept",
        "resources": {"requests": {"storage": "1Gi"}}}});
    let provisioned = json!({"provisioner": "disk.example.com"});
    dressed(vec![
        Shape::new("v1", "persistentvolumes", "PersistentVolume", None, "kept", volume),
        Shape::new("v1", "persistentvolumeclaims", "PersistentVolumeClaim", Some("shop"), "kept", claim)
            .keeps(&["/spec/volumeName"]),
        Shape::new(GROUP, "storageclasses", "StorageClass", None, "gold", provisioned).stage(Stage::First),
    ])
}

fn classes() -> Vec<Shape> {
    let class = |name: &str, content: Value| {
        Shape::new(GROUP, "storageclasses", "StorageClass", None, name, content).stage(Stage::First)
    };
    let capacity = json!({"storageClassName": "gold", "capacity": "1Ti",
        "nodeTopology": {"matchLabels": {"topology.kubernetes.io/zone": "a"}}});
    vec![
        class(
            "gold",
            json!({"provisioner": "disk.example.com", "allowVolumeExpansion": true,
            "reclaimPolicy": "Retain", "parameters": {"type": "gold"}, "mountOptions": ["noatime"],
            "volumeBindingMode": "WaitForFirstConsumer"}),
        ),
        class(
            "standard",
            json!({"provisioner": "disk.example.com", "metadata": {"annotations": {
            "storageclass.kubernetes.io/is-default-class": "true"}}}),
        ),
        Shape::new(
            GROUP,
            "volumeattributesclasses",
            "VolumeAttributesClass",
            None,
            "fast",
            json!({"driverName": "disk.example.com", "parameters": {"iops": "4000"}}),
        ),
        Shape::new(
            GROUP,
            "csidrivers",
            "CSIDriver",
            None,
            "disk.example.com",
            json!({"spec": {"podInfoOnMount": true, "fsGroupPolicy": "File"}}),
        ),
        Shape::new(
            GROUP,
            "csinodes",
            "CSINode",
            None,
            "old-node",
            json!({"spec": {"drivers": [{"name": "disk.example.com", "nodeID": "n"}]}}),
        )
        .skipped(104),
        Shape::new(GROUP, "csistoragecapacities", "CSIStorageCapacity", Some("shop"), "room", capacity).skipped(104),
        Shape::new(
            GROUP,
            "volumeattachments",
            "VolumeAttachment",
            None,
            "attached",
            json!({"spec": {
            "attacher": "disk.example.com", "nodeName": "old-node", "source": {"persistentVolumeName": "pv-bound"}}}),
        )
        .skipped(104),
    ]
}

fn volumes() -> Vec<Shape> {
    let volume = |name: &str, spec: Value| {
        let content = json!({"spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "gold", "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "disk.example.com", "volumeHandle": name, "volumeAttributes": {"a": "ü"}}}});
        Shape::new("v1", "persistentvolumes", "PersistentVolume", None, name, content).with(json!({"spec": spec}))
    };
    let bound = json!({"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop",
        "name": "bound",
        "uid": "@uid:persistentvolumeclaims/shop/bound", "resourceVersion": "1"}});
    let controlled = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes",
        "pv.kubernetes.io/provisioned-by": "disk.example.com"}}});
    let secrets = json!({"csi": {"nodeStageSecretRef": {"name": "login", "namespace": "shop"}}});
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "zone", "operator": "In", "values": ["a"]}]}]}});
    vec![
        volume("pv-bound", bound).with(controlled).keeps(&["/spec/claimRef/name", "/spec/claimRef/namespace"]),
        volume("pv-free", json!({"volumeMode": "Block", "nodeAffinity": affinity})),
        volume("pv-reserved", json!({"claimRef": {"namespace": "shop", "name": "later"}})),
        volume("pv-secret", secrets),
        volume("pv-local", json!({"csi": null, "local": {"path": "/mnt/a"}, "nodeAffinity": affinity})),
    ]
}

fn claims() -> Vec<Shape> {
    let claim = |name: &str, spec: Value| {
        let content = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
            "resources": {"requests": {"storage": "1Gi"}}}});
        Shape::new("v1", "persistentvolumeclaims", "PersistentVolumeClaim", Some("shop"), name, content)
            .with(json!({"spec": spec}))
    };
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes", "volume.kubernetes.io/storage-provisioner": "disk.example.com",
        "volume.beta.kubernetes.io/storage-provisioner": "disk.example.com",
        "volume.kubernetes.io/selected-node": "old-node"}}});
    let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}});
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    vec![
        claim("bound", json!({"volumeName": "pv-bound"}))
            .with(bound)
            .act(Act::Status(status))
            .keeps(&["/spec/volumeName"]),
        claim("lost", json!({"volumeName": "pv-that-is-gone"})),
        claim("pending", json!({})),
        claim("default-class", json!({"storageClassName": null})),
        claim("no-class", json!({"storageClassName": "", "selector": {"matchLabels": {"disk": "old"}}})),
        claim("block", json!({"volumeMode": "Block", "accessModes": ["ReadWriteOncePod"]})),
        claim("copied", json!({"dataSource": source, "dataSourceRef": source})),
        claim("attributed", json!({"volumeAttributesClassName": "fast"})),
    ]
}
