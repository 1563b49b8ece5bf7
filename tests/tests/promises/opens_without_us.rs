//! Promise 6: `minisign`, `age`, `zstd`, `tar` and `etcdutl` open every backup, by the commands in the book.

use std::path::Path;
use std::process::Command;

use lifeboat_tests::cluster::testbed_bin;
use lifeboat_tests::s3::S3Server;
use serde_json::Value;

use crate::support::{Site, backup_key, small, turn};

/// The page, and the section whose shell commands are run.
const PAGE: &str = "../docs/src/backup-format.md";
const SECTION: &str = "## Opening a backup with stock tools";

/// The shell commands of a section, in order: those of blocks with that mark.
pub(crate) fn commands(page: &str, section: &str, mark: &str) -> Vec<String> {
    let section = page.split_once(section).unwrap_or_else(|| panic!("no section '{section}'")).1;
    let section = section.split("\n## ").next().unwrap();
    let begin = format!("```{mark}\n");
    let blocks = section.split(begin.as_str()).skip(1).map(|block| block.split_once("```").unwrap().0.to_owned());
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_open_a_backup_as_the_book_says() {
    let _turn = turn().await;
    let site = Site::s3(small().await, S3Server::versitygw().await);
    let id = site.create();
    let files = site.place.files().await;

    // What a person has fetched with any tool: the files of the backup, the recovery key, and the public key.
    let folder = site.path("fetched");
    std::fs::create_dir(&folder).unwrap();
    for (key, bytes) in &files {
        if let Some(name) = key.strip_prefix(&backup_key(&id, "")) {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for key in ["recovery.key", "signing.pub"] {
        std::fs::copy(site.path(key), folder.join(key)).unwrap();
    }
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let blocks = commands(&page, SECTION, "sh");
    let tools = ["minisign -V", "sha256sum --check", "age -d", "zstd -d", "tar -xf", "etcdutl snapshot restore"];
    for tool in tools {
        assert!(blocks.iter().any(|block| block.contains(tool)), "the page does not say how to use '{tool}'");
    }
    let output = shell(&folder, &blocks.join("\n"));
    assert!(output.contains(&id), "the trusted comment names the backup: {output}");

    same_as_ours(&site, &id, &folder);
}

/// Runs commands as they stand, each of which must succeed.
pub(crate) fn shell(folder: &Path, script: &str) -> String {
    let path = std::env::join_paths([testbed_bin(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", script])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout.into_owned()
}

/// What the tools made is what Lifeboat makes of it.
fn same_as_ours(site: &Site, id: &str, folder: &Path) {
    let ours = site.path("ours");
    site.expect(0, &["backup", "download", id, "-i", "recovery.key", "--to", ours.to_str().unwrap()]);
    for part in ["etcd.db", "resources.tar", "index.jsonl", "coverage.json"] {
        assert_eq!(std::fs::read(folder.join(part)).unwrap(), std::fs::read(ours.join(part)).unwrap(), "{part}");
    }
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let mut objects = 0;
    for line in index.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let text = |name: &str, absent: &str| line[name].as_str().unwrap_or(absent).to_owned();
        let (group, namespace) = (text("group", "core"), text("namespace", "_cluster"));
        let (version, resource, name) = (text("version", ""), text("resource", ""), text("name", ""));
        let path = folder.join(format!("resources/{group}/{version}/{resource}/{namespace}/{name}.json"));
        let object: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(object["metadata"]["uid"].as_str().unwrap_or_default(), text("uid", ""), "{}", path.display());
        assert_eq!((&object["kind"], &object["metadata"]["name"]), (&line["kind"], &line["name"]));
        objects += 1;
    }
    assert!(objects > 100, "{objects} objects");
    assert!(folder.join("restored-etcd/member/snap/db").is_file(), "etcdutl has rebuilt a data directory");
}

/// Each block stands for itself: what it says is run, and a page without blocks is noticed.
#[test]
fn commands_are_taken_from_the_page() {
    let page = "# A\n```sh\nno\n```\n## B\ntext\n```sh\none\ntwo\n```\n```text\nno\n```\n```sh\nthree\n```\n## C\n```sh\nno\n```\n";
    assert_eq!(commands(page, "## B", "sh"), ["one\ntwo\n", "three\n"]);
}
