//! Stores that work, and stores that do not.

use lifeboat_controlplane::free_port;
use lifeboat_tests::s3::S3Server;
use rustix::process::geteuid;

use crate::support::{Place, Run, Site, large, small, turn};

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_does_the_main_job() {
    let _turn = turn().await;
    main_job(&Site::s3(small().await, S3Server::versitygw().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_does_the_main_job() {
    let _turn = turn().await;
    main_job(&Site::s3(small().await, S3Server::minio().await)).await;
}

/// Create, list, verify, look inside.
async fn main_job(site: &Site) {
    let ids = [site.create(), site.create()];
    let mut listed = site.listed();
    listed.reverse();
    assert_eq!(listed, ids);
    let before = site.place.files().await;
    for id in &ids {
        site.verify(id);
        site.expect(0, &["backup", "verify", id]);
        let boat = [
            "backup",
            "get",
            id,
            "boats.shop.example.com/flying-dutchman",
            "-n",
            "zwieback-quarters",
            "-i",
            "recovery.key",
        ];
        assert_eq!(site.json(0, &boat)["cargo"], serde_json::json!([2, 2.5, null, "ü\"\\"]));
        let found = site.expect(0, &["backup", "search", id, "object.kind == 'Boat'", "-i", "recovery.key"]);
        assert!(found.stdout.contains("flying-dutchman"), "{found:?}");
        let listed =
            site.json(0, &["backup", "objects", id, "-l", "app=web", "--kind", "deploy", "-i", "recovery.key"]);
        assert_eq!(listed["objects"][0]["name"], "web", "{listed}");
    }
    site.expect(0, &["key", "check", "-i", "recovery.key"]);
    assert_eq!(site.place.files().await, before, "reading changes nothing");
}

/// The command must fail with that code, and say just one thing, with what was wrong in it and what to do.
fn one_clear_error(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, Some(code), "{run:?}");
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{run:?}");
    for word in words {
        assert!(errors[0].contains(word), "'{word}' is not in '{}'", errors[0]);
    }
    assert!(run.stderr.lines().any(|line| line.starts_with("hint:")), "{run:?}");
    assert!(!run.stderr.contains("panicked") && run.stdout.is_empty(), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_used() {
    let _turn = turn().await;
    let mut site = Site::s3(small().await, S3Server::versitygw().await);
    let Place::S3(server) = &site.place else { unreachable!() };
    let endpoint = server.endpoint.clone();
    let (user, password) = server.add_user("stranger");
    let (access, secret) = (server.access_key.clone(), server.secret_key.clone());
    let commands: [&[&str]; 3] = [&["backup", "create"], &["backup", "list"], &["backup", "verify"]];

    for arguments in commands {
        let run = site.run(&[arguments, &["--set", "store.s3.bucket=missing"]].concat());
        one_clear_error(&run, 6, &["there is no bucket 'missing'", &endpoint]);
    }
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", &nobody);
    // It is tried again for some seconds.
    for arguments in &commands[..2] {
        one_clear_error(&site.run(arguments), 1, &["cannot be reached", &nobody]);
    }
    site.set("LIFEBOAT_STORE_S3_ENDPOINT", &endpoint);
    site.set("AWS_SECRET_ACCESS_KEY", "wrong");
    for arguments in commands {
        one_clear_error(&site.run(arguments), 5, &["the credentials for", &endpoint]);
    }
    site.set("AWS_ACCESS_KEY_ID", "nobody");
    one_clear_error(&site.run(commands[0]), 5, &["the credentials for"]);
    site.set("AWS_ACCESS_KEY_ID", user);
    site.set("AWS_SECRET_ACCESS_KEY", password);
    for arguments in commands {
        one_clear_error(&site.run(arguments), 5, &["no permission", "s3:"]);
    }
    let as_json = site.json(5, &["backup", "create"]);
    assert_eq!(as_json["error"]["code"], "refused", "{as_json}");
    site.set("AWS_ACCESS_KEY_ID", access);
    site.set("AWS_SECRET_ACCESS_KEY", secret);
    assert_eq!(site.listed(), Vec::<String>::new());
    assert!(site.place.files().await.is_empty());
}

/// The server goes away while it is being written to.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_goes_away() {
    let _turn = turn().await;
    let site = Site::s3(large().await, S3Server::versitygw().await);
    let Place::S3(server) = &site.place else { unreachable!() };
    let child = site.command(&["backup", "create"]).spawn().unwrap();
    crate::support::until("upload", async || {
        let listed = server.client().list_multipart_uploads().bucket(&server.bucket).send().await.ok()?;
        (!listed.uploads().is_empty()).then_some(())
    })
    .await;
    server.kill().await;
    let run = Run::from(child.wait_with_output().unwrap());
    one_clear_error(&run, 1, &[&server.endpoint]);
}

/// A disk of a few megabytes.
struct Disk<'a>(&'a std::path::Path);

impl<'a> Disk<'a> {
    fn mount(path: &'a std::path::Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(path).status();
        assert!(mounted.unwrap().success(), "no tmpfs at {}", path.display());
        Self(path)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    let _turn = turn().await;
    if !geteuid().is_root() {
        println!("SKIPPED: only root can mount a small disk");
        return;
    }
    let site = Site::directory(large().await);
    let Place::Directory(store) = &site.place else { unreachable!() };
    let disk = Disk::mount(store);
    let run = site.run(&["backup", "create"]);
    one_clear_error(&run, 1, &["no space left", "etcd.db"]);
    assert_eq!(site.listed(), Vec::<String>::new());
    let left: Vec<String> = site.place.files().await.into_keys().filter(|key| key.contains("backups")).collect();
    assert_eq!(left, Vec::<String>::new(), "what did not fit is removed");
    drop(disk);
}
