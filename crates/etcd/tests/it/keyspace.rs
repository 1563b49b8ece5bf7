//! What is read offline against what etcd says of the same data after it booted.

use std::path::Path;

use lifeboat_controlplane::EtcdAccess;
use lifeboat_etcd::{Cluster, Rebuild, inspect_file, read_keys, rebuild};
use lifeboat_tests::cluster;
use lifeboat_tests::cluster::testbed_bin;

use crate::kv::{Put, Writer};
use crate::options;

const BUMP: u64 = 1_000_000;

fn put(key: &str, value: Vec<u8>) -> Put {
    Put { key: key.as_bytes().to_vec(), value, lease: 0 }
}

/// Keys, several revisions of some, several keys in one revision, values over many pages, and deletions.
async fn write(access: &EtcdAccess, generation: u8, keys: u32) {
    let writer = Writer::new(access, 0);
    for number in 0..keys {
        let value = vec![generation; usize::try_from(number % 700).unwrap_or_default() + 1];
        writer.put(vec![put(&format!("/a/{number}"), value.clone()), put(&format!("/b/{}", number % 7), value)]).await;
    }
    writer.put(vec![put("/large", vec![generation; 1_200_000])]).await;
    writer.put(vec![put("/gone", vec![generation])]).await;
    writer.put(vec![put("/back", vec![generation])]).await;
    writer.delete(b"/back", b"/backx").await;
    writer.put(vec![put("/back", vec![generation, 1])]).await;
    writer.delete(b"/gone", b"/gonex").await;
}

async fn snapshot(access: &EtcdAccess, to: &Path) {
    let mut stream = Cluster::connect(&options(access)).unwrap().snapshot(&access.endpoints[0]).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&part);
    }
    stream.finish().unwrap();
    std::fs::write(to, bytes).unwrap();
}

/// Each generation boots from a restore of the one before, whose raised revision is in the data by then.
#[tokio::test]
async fn keys_and_hash_are_those_of_the_booted_etcd() {
    let mut etcd = cluster::Cluster::start_etcd(1).await;
    let access = etcd.etcd();
    for (generation, keys) in [(0, 0), (1, 2_000), (2, 100), (3, 0)] {
        let before = Cluster::connect(&options(&access)).unwrap().content(&access.endpoints[0]).await.unwrap();
        write(&access, generation, keys).await;
        let file = etcd.temp().join(format!("{generation}.db"));
        snapshot(&access, &file).await;
        let expected = read_keys(&file, Some(before.revision.unsigned_abs()), BUMP).unwrap();
        let deleted: Vec<&[u8]> = expected.deleted.iter().map(|(key, _)| key.as_slice()).collect();
        assert_eq!(deleted, [b"/back", b"/gone"]);
        assert!(expected.deleted.iter().all(|(_, revision)| *revision > before.revision));
        assert_eq!(read_keys(&file, None, BUMP).unwrap().deleted, []);

        let data = etcd.temp().join(format!("data-{generation}"));
        let facts = inspect_file(&file).unwrap();
        assert_eq!(expected.revision, facts.revision + BUMP.cast_signed());
        let request = Rebuild {
            etcdutl: testbed_bin().join("etcdutl"),
            snapshot: file,
            minor: facts.minor(),
            data_dir: data.clone(),
            name: "one".to_owned(),
            initial_cluster: "one=https://127.0.0.1:2380".to_owned(),
            initial_cluster_token: "restored".to_owned(),
            initial_advertise_peer_urls: vec!["https://127.0.0.1:2380".to_owned()],
            bump_revision: BUMP,
        };
        rebuild(&request).await.unwrap();
        etcd.stop_etcd().await;
        etcd.use_etcd_data_dir(&data).unwrap();
        etcd.start_etcd().await.unwrap();
        let cluster = Cluster::connect(&options(&access)).unwrap();
        let found = cluster.content(&access.endpoints[0]).await.unwrap();
        assert_eq!((found.revision, found.compact_revision), (expected.revision, expected.revision));
        assert_eq!((found.keys, found.hash), (expected.keys, expected.hash), "generation {generation}");
        assert_eq!(cluster.listed_members(&access.endpoints[0]).await.unwrap().len(), 1);

        // One write more, and it is another content.
        Writer::new(&access, 0).put(vec![put("/more", vec![generation])]).await;
        assert_ne!(cluster.content(&access.endpoints[0]).await.unwrap().hash, expected.hash);
    }
}
