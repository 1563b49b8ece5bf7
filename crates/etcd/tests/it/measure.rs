//! Figures, on request: `cargo test --release -p lifeboat-etcd -- --ignored --nocapture measure`.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Instant;

use lifeboat_etcd::{Cluster, Inspector, Trailer};
use lifeboat_tests::cluster;

use crate::kv::{Put, Writer};
use crate::{etcdctl_flags, options, run};

/// An object as compressible as those of a real cluster.
fn object(number: u32) -> Vec<u8> {
    let mut value = b"k8s\0".to_vec();
    let mut state = u64::from(number) * 0x9e37_79b9_7f4a_7c15 + 1;
    while value.len() < 6_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(
            value,
            "{{\"name\":\"app-{}\",\"image\":\"registry.example.com/team-{}/service:v1.{}\",\"uid\":\"{state:016x}\",\
             \"env\":[{{\"name\":\"LOG_LEVEL\",\"value\":\"info\"}},{{\"name\":\"REGION\",\"value\":\"eu-1\"}}],\
             \"resources\":{{\"limits\":{{\"cpu\":\"500m\",\"memory\":\"256Mi\"}}}}}}",
            number % 500,
            number % 20,
            number % 9,
        )
        .unwrap();
    }
    value
}

/// CPU seconds of a process, and of its children that have ended: fields 14 to 17 of proc(5), in hundredths.
fn cpu(process: &str) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let seconds = |field: usize| fields[field].parse::<f64>().unwrap() / 100.0;
    (seconds(11) + seconds(12), seconds(13) + seconds(14))
}

/// Wall and CPU time of one measurement: this process, its children, and the server.
struct Watch {
    begin: Instant,
    own: (f64, f64),
    server: (String, f64),
}

impl Watch {
    fn start(server: &str) -> Self {
        Self { begin: Instant::now(), own: cpu("self"), server: (server.to_owned(), cpu(server).0) }
    }

    fn stop(self, what: &str, bytes: u64) {
        let seconds = self.begin.elapsed().as_secs_f64();
        let own = cpu("self");
        let server = cpu(&self.server.0).0 - self.server.1;
        println!(
            "{what:26} {seconds:6.2} s {:6.0} MB/s, CPU: own {:.2} s, child {:.2} s, server {server:.2} s",
            f64::from(u32::try_from(bytes >> 10).unwrap()) * 1024.0 / 1e6 / seconds,
            own.0 - self.own.0,
            own.1 - self.own.1,
        );
    }
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn stream(cluster: &Cluster, endpoint: &str, mut sink: impl FnMut(&[u8])) -> u64 {
    let mut stream = cluster.snapshot(endpoint).await.unwrap();
    while let Some(part) = stream.next().await.unwrap() {
        sink(&part);
    }
    stream.finish().unwrap().bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; to be run in a release build"]
async fn measure_the_stream_and_the_inspector() {
    let etcd = cluster::Cluster::start_etcd(1).await;
    let access = etcd.etcd();
    let writer = Writer::new(&access, 0);
    for first in (0..170_000).step_by(100) {
        let put = |number| Put { key: format!("/registry/pods/{number:08}").into(), value: object(number), lease: 0 };
        writer.put((first..first + 100).map(put).collect()).await;
    }
    let cluster = Cluster::connect(&options(&access)).unwrap();
    let endpoint = &access.endpoints[0];
    let path = etcd.temp().join("saved.db");
    let mut args = etcdctl_flags(&access, endpoint);
    args.extend(["snapshot".to_owned(), "save".to_owned(), path.display().to_string()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = etcd.etcd_pids()[0].unwrap().to_string();
    println!("peak memory before: {} KiB", resident_kib());
    for _ in 0..3 {
        let watch = Watch::start(&server);
        run("etcdctl", &args);
        watch.stop("etcdctl snapshot save", fs::metadata(&path).unwrap().len());
        let watch = Watch::start(&server);
        let bytes = stream(&cluster, endpoint, |_| {}).await;
        watch.stop("stream, to nowhere", bytes);
        let watch = Watch::start(&server);
        let mut inspector = Inspector::new(Trailer::VerifiedElsewhere);
        let bytes = stream(&cluster, endpoint, |part| inspector.update(part)).await;
        inspector.finish().unwrap();
        watch.stop("stream, inspected", bytes);
        let watch = Watch::start(&server);
        let mut file = File::create(etcd.temp().join("ours.db")).unwrap();
        let bytes = stream(&cluster, endpoint, |part| file.write_all(part).unwrap()).await;
        file.sync_all().unwrap();
        watch.stop("stream, to a synced file", bytes);
    }
    println!("peak memory after streams: {} KiB", resident_kib());
    let bytes = fs::read(&path).unwrap();
    for trailer in [Trailer::VerifiedElsewhere, Trailer::Verify] {
        let watch = Watch::start(&server);
        let mut inspector = Inspector::new(trailer);
        bytes.chunks(32 << 10).for_each(|part| inspector.update(part));
        inspector.finish().unwrap();
        watch.stop(&format!("inspector, {trailer:?}"), bytes.len() as u64);
    }
}
