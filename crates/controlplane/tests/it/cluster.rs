use std::time::Instant;

use lifeboat_tests::cluster::Cluster;

#[tokio::test]
async fn a_control_plane_is_ready_and_kubectl_works() {
    let start = Instant::now();
    let cluster = Cluster::start().await;
    println!("etcd and kube-apiserver ready after {:?}", start.elapsed());
    let namespaces = cluster.kubectl(&["get", "ns", "-o", "name"]);
    assert!(namespaces.contains("namespace/default"), "{namespaces}");
}
