//! Promise 1: a backup appears only after all its parts are stored, read again and found equal; end the process at
//! any moment, in any way, and this holds.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lifeboat_model::GroupResource;
use lifeboat_recovery::{BackupRef, Catalog, Progress, backup};
use lifeboat_store::{Fault, FaultyStore, Operation, StoreError};
use lifeboat_tests::cluster::Cluster;
use lifeboat_tests::s3::S3Server;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Gate, Keys, Place, Run, Site, Still, context, large, memory, names_in_folder, request, small, stored_files, turn,
    until, verify,
};

/// Kills of each of the killers below, unless `LIFEBOAT_KILLS` says otherwise.
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_on_a_directory() {
    let _turn = turn().await;
    killer(&Site::directory(small().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_on_s3() {
    let _turn = turn().await;
    killer(&Site::s3(small().await, S3Server::versitygw().await));
}

/// The same where each part takes several requests.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_of_uploads_in_parts() {
    let _turn = turn().await;
    killer(&Site::s3(large().await, S3Server::versitygw().await));
}

/// Backs up again and again, and kills each time: anywhere in the run, and often near its end, where the commit is.
fn killer(site: &Site) {
    let wanted = std::env::var("LIFEBOAT_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    let mut proved: BTreeSet<String> = [site.create(), site.create()].into();
    let usual = begun.elapsed() / 2;

    let (mut kills, mut leftovers) = (0, 0);
    for attempt in 0.. {
        if kills == wanted {
            break;
        }
        assert!(attempt < 6 * wanted, "only {kills} of {attempt} runs were still there to be killed");
        let share = if random.u8(0..3) == 0 { 0.75 + 0.35 * random.f64() } else { 1.3 * random.f64() };
        let mut child = site.command(&["backup", "create"]).spawn().unwrap();
        // The moment is the point: nothing is waited for here.
        std::thread::sleep(usual.mul_f64(share));
        child.kill().unwrap();
        let ended = child.wait_with_output().unwrap();
        kills += usize::from(ended.status.signal() == Some(9));
        for id in site.listed() {
            if proved.insert(id.clone()) {
                site.verify(&id);
            }
        }
        let listed = site.json(0, &["backup", "list", "--incomplete"]);
        leftovers = listed["incomplete"].as_array().unwrap().len();
        assert!(listed["incomplete"].as_array().unwrap().iter().all(|id| !proved.contains(id.as_str().unwrap())));
    }
    println!("{kills} kills: {} backups listed, {leftovers} unfinished", proved.len());
    assert!(leftovers > 0, "no run was killed while it wrote: this has shown nothing");

    let last = site.create();
    let listed = site.listed();
    assert_eq!(listed.iter().filter(|id| **id == last).count(), 1);
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), proved.into_iter().chain([last]).collect());
    for id in &listed {
        site.verify(id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_leaves_nothing_in_a_bucket() {
    let _turn = turn().await;
    let site = Site::s3(large().await, S3Server::versitygw().await);
    let Place::S3(server) = &site.place else { unreachable!() };
    let uploads = async || {
        let listed = server.client().list_multipart_uploads().bucket(&server.bucket).send().await.unwrap();
        listed.uploads().len()
    };
    stopped(&site, Signal::TERM, async || uploads().await > 0).await;
    assert_eq!(uploads().await, 0, "unfinished uploads stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_leaves_nothing_in_a_directory() {
    let _turn = turn().await;
    let site = Site::directory(large().await);
    let Place::Directory(store) = &site.place else { unreachable!() };
    let is_part = |name: &String| name.contains("/backups/") && name.contains(".part-");
    stopped(&site, Signal::INT, async || names_in_folder(store).iter().any(is_part)).await;
    assert!(names_in_folder(store).iter().all(|name| !name.contains(".part-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_ends_at_once() {
    let _turn = turn().await;
    let mut site = Site::s3(small().await, S3Server::versitygw().await);
    let first = site.create();
    let Place::S3(server) = &site.place else { unreachable!() };
    // The store stands still in the middle of the backup, so that what was begun cannot be undone.
    let gate = Gate::before(server.port(), 16 * 1024).await;
    let direct = server.endpoint.clone();
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", gate.address().replace("https", "http"));
    let mut child = site.command(&["backup", "create"]).spawn().unwrap();
    gate.reached().await;
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    assert!(log.any(|line| line.contains("once more ends at once")), "the first signal is not told");
    let asked = Instant::now();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", direct);
    assert_eq!(site.listed(), [first]);
}

/// Stops a backup once it is `writing`: it must end by itself, with an error, and leave nothing.
async fn stopped(site: &Site, signal: Signal, writing: impl AsyncFn() -> bool) {
    let mut finished = BTreeSet::new();
    for _ in 0..20 {
        let mut child = site.command(&["backup", "create"]).spawn().unwrap();
        until("upload", async || (writing().await || child.try_wait().unwrap().is_some()).then_some(())).await;
        let Some(run) = interrupt(child, signal) else {
            // It was through before anybody saw it write.
            finished.extend(site.listed());
            continue;
        };
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains("interrupted"), "{run:?}");
        assert_eq!(run.stdout, "");
        assert_eq!(site.listed().into_iter().collect::<BTreeSet<_>>(), finished);
        let files = site.place.files().await;
        let left: Vec<_> = files.keys().filter(|key| !finished.iter().any(|id| key.contains(id))).collect();
        assert_eq!(left, ["prod/cluster.json", "prod/cluster.json.minisig"], "nothing of the backup itself");
        return;
    }
    panic!("no run wrote long enough to be stopped");
}

/// Sends a signal; none where the program has succeeded all the same.
fn interrupt(child: Child, signal: Signal) -> Option<Run> {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    (run.code != Some(0)).then_some(run)
}

/// Each call of the store fails once in each way: then there is an error and nothing is listed, or a backup that holds.
#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_of_the_store_fails() {
    let _turn = turn().await;
    let (cluster, keys) = (small().await, Keys::generate());
    let counts = calls_of_a_backup(cluster, &keys).await;
    assert!(counts.iter().map(|(_, calls)| calls).sum::<u64>() > 15, "{counts:?}");
    let (mut failed, mut succeeded) = (0, 0);
    for (operation, calls) in counts {
        for nth in 1..=calls {
            for fault in FAULTS {
                let counter =
                    if with_fault(cluster, &keys, operation, nth, fault).await { &mut succeeded } else { &mut failed };
                *counter += 1;
            }
        }
    }
    println!("{failed} backups failed, {succeeded} succeeded");
    assert!(failed > 0 && succeeded > 0);
}

/// Ways to fail, each by its name.
const FAULTS: [fn() -> Fault; 5] = [
    || Fault::Fail(StoreError::Timeout { operation: "be asked for", resource: "a fault".to_owned() }),
    || Fault::Cut(0),
    || Fault::Cut(300),
    || Fault::Corrupt(100),
    || Fault::LoseResponse,
];

fn light_request(cluster: &Cluster, keys: &Keys) -> backup::Request {
    let mut request = request(cluster, keys);
    request.resources.include = ["configmaps", "secrets"].map(|name| GroupResource::from(name.to_owned())).to_vec();
    request
}

/// How often a backup into an empty store calls each operation.
async fn calls_of_a_backup(cluster: &Cluster, keys: &Keys) -> Vec<(Operation, u64)> {
    let calls = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let seen = Arc::clone(&calls);
    let store = FaultyStore::new(memory(&[].into()).await, move |call| {
        seen.lock().unwrap().insert(call.operation, call.nth);
        None
    });
    backup::create(&context(store, keys), light_request(cluster, keys), Progress::default()).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    calls.into_iter().collect()
}

/// The UID of the namespace `kube-system`, asked for once.
fn cluster_id(cluster: &Cluster) -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| cluster.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]))
}

async fn with_fault(cluster: &Cluster, keys: &Keys, operation: Operation, nth: u64, fault: fn() -> Fault) -> bool {
    let inner = Arc::new(memory(&[].into()).await);
    let store = FaultyStore::new(Arc::clone(&inner), lifeboat_store::nth(operation, nth, fault));
    let result = backup::create(&context(store, keys), light_request(cluster, keys), Progress::default()).await;
    let honest = context(Arc::clone(&inner), keys);
    let what = format!("{operation:?} number {nth}: {:?} then {result:?}", fault());

    let files = stored_files(&inner).await;
    let begun = files.contains_key("prod/cluster.json") == files.contains_key("prod/cluster.json.minisig");
    assert!(begun || result.is_err(), "{what}");
    let listing = Catalog::open(honest.clone()).await.unwrap_or_else(|e| panic!("{what}: {e}")).list().await.unwrap();
    assert!(listing.problems.is_empty(), "{what}: {:?}", listing.problems);
    for entry in &listing.backups {
        let report = verify(&honest, entry.manifest.id.as_str(), Some(keys)).await.unwrap();
        assert!(report.ok, "{what}: {report:?}");
    }
    match &result {
        Ok(outcome) => assert_eq!(listing.backups[0].manifest, outcome.manifest, "{what}"),
        // Only where the answer to the very commit was lost nobody knows, and says so.
        Err(lifeboat_recovery::Error::Store(StoreError::Uncertain { .. })) => {}
        Err(_) => assert!(listing.backups.is_empty(), "{what}"),
    }
    // Whatever was left does not stand in the way of the next one, nor makes it another cluster's.
    let next = backup::create(&honest, light_request(cluster, keys), Progress::default()).await;
    let next = next.unwrap_or_else(|e| panic!("{what}; the next: {e}"));
    assert!(verify(&honest, next.manifest.id.as_str(), Some(keys)).await.unwrap().ok, "{what}");
    assert_eq!(next.manifest.cluster_id, cluster_id(cluster), "{what}");
    let last = listing.backups.first().map_or(0, |entry| entry.manifest.sequence);
    assert!(next.manifest.sequence > last, "{what}: {} after {last}", next.manifest.sequence);
    result.is_ok()
}

/// The last of several backups of one second is the latest, though ids of one second have no order of their own.
#[tokio::test(flavor = "multi_thread")]
async fn the_latest_is_the_last() {
    let _turn = turn().await;
    let (cluster, keys) = (small().await, Keys::generate());
    let mut context = context(memory(&[].into()).await, &keys);
    context.clock = Arc::new(Still::now());
    let mut ids = Vec::new();
    for _ in 0..3 {
        let taken = backup::create(&context, light_request(cluster, &keys), Progress::default()).await.unwrap();
        ids.push(taken.manifest.id);
    }
    assert!(ids.is_sorted_by(|a, b| a > b), "the clock is to make this hard: {ids:?}");
    let catalog = Catalog::open(context).await.unwrap();
    let listed = catalog.list().await.unwrap().backups;
    let listed: Vec<_> = listed.into_iter().rev().map(|entry| (entry.manifest.sequence, entry.manifest.id)).collect();
    assert_eq!(listed, [1, 2, 3].into_iter().zip(ids.iter().cloned()).collect::<Vec<_>>());
    assert_eq!(catalog.get(&BackupRef::Latest).await.unwrap().manifest().id, ids[2]);
}
