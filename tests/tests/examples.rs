//! The examples of the docs, run as they stand: every block marked `sh` of a page, in order, as one script in a folder of
//! its own, against a real control plane.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_tests::cluster::{Cluster, testbed_bin};
use serde_json::Value;

use crate::house::book::{blocks, pages};
use crate::house::{read, root};
use crate::program;

/// A page whose commands begin with nothing but a control plane. Those of all others have a configuration, keys and a
/// backup of a small shop.
const FROM_NOTHING: &str = "docs/src/getting-started.md";
/// The page whose commands are run among the files of one backup.
const FORMAT: &str = "docs/src/backup-format.md";
/// The page that says what JSON output looks like.
const JSON: &str = "docs/src/json-output.md";

/// A shell with the testbed and the program, and nothing else of whoever runs the tests.
struct Stage {
    cluster: Cluster,
}

impl Stage {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let sample = |name: &str| root().join("scripts/demo.d").join(name).display().to_string();
        cluster.kubectl(&["apply", "-f", &sample("shop.yaml")]);
        cluster.kubectl(&["wait", "--for=condition=Established", "crd/discounts.shop.example", "--timeout=60s"]);
        cluster.kubectl(&["apply", "-f", &sample("discount.yaml")]);
        Self { cluster }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let built = program::path();
        let path = std::env::join_paths(
            [built.parent().unwrap(), testbed_bin()]
                .map(Path::to_owned)
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        let etcd = self.cluster.etcd();
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", folder)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("LIFEBOAT_ETCD_ENDPOINTS", etcd.endpoints.join(","))
            .env("LIFEBOAT_ETCD_CA_FILE", &etcd.ca_file)
            .env("LIFEBOAT_ETCD_CERT_FILE", &etcd.cert_file)
            .env("LIFEBOAT_ETCD_KEY_FILE", &etcd.key_file);
        command
    }

    /// Runs a script; what it printed on stdout.
    fn run(&self, name: &str, script: &str, folder: &Path) -> String {
        let output = self.command("bash", folder).args(["-euo", "pipefail", "-c", script]).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
        stdout
    }

    /// A folder with a configuration, keys and a backup.
    fn prepared(&self, name: &str) -> PathBuf {
        let folder = self.folder(name);
        self.run(name, "lifeboat init --cluster demo && lifeboat backup create", &folder);
        folder
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.cluster.temp().join(name.replace('/', "-"));
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// A folder with the files of one backup, the recovery key and the trusted key.
    fn files_of_a_backup(&self, name: &str) -> PathBuf {
        let folder = self.prepared(name);
        self.run(name, "mkdir one && cp backups/demo/backups/*/* recovery.key signing.pub one", &folder);
        folder.join("one")
    }
}

fn script(page: &str) -> String {
    blocks(&read(page)).0.into_iter().filter(|block| block.mark == "sh").map(|block| block.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs() {
    let stage = Stage::start().await;
    let pages: Vec<String> = pages().into_iter().chain(["README.md".to_owned()]).collect();
    let mut ran = Vec::new();
    for page in pages {
        let script = script(&page);
        if script.is_empty() {
            continue;
        }
        let folder = match page.as_str() {
            FROM_NOTHING => stage.folder(&page),
            FORMAT => stage.files_of_a_backup(&page),
            _ => stage.prepared(&page),
        };
        stage.run(&page, &script, &folder);
        ran.push(page);
    }
    for page in [FROM_NOTHING, FORMAT, "README.md"] {
        assert!(ran.iter().any(|other| other == page), "{page} has no examples");
    }
}

/// The commands whose JSON is held to the page, to be run in a prepared folder.
const COMMANDS: &[&str] = &[
    "version",
    "doctor",
    "key show --identity recovery.key",
    "key check --identity recovery.key",
    "key generate recovery --out another.key",
    "init --dir another",
    "backup create",
    "backup list --incomplete",
    "backup show --identity recovery.key",
    "backup verify",
    "backup verify --identity recovery.key",
    "backup objects --namespace shop --identity recovery.key",
    "backup diff latest --live --identity recovery.key",
    "backup search latest true --namespace shop --identity recovery.key",
    "backup download latest --to files --identity recovery.key",
    "restore etcd latest --data-dir etcd --identity recovery.key --yes",
    "drill run latest --tier 1 --identity recovery.key",
    "drill list",
    "drill show latest --identity recovery.key",
];

#[tokio::test(flavor = "multi_thread")]
async fn json_is_as_the_page_says() {
    let stage = Stage::start().await;
    let folder = stage.prepared("json");
    let page = read(JSON);
    for command in COMMANDS {
        let text = stage.run(command, &format!("lifeboat {command} -o json"), &folder);
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error}\n{text}"));
        let schema = document["schema"].as_str().unwrap_or_else(|| panic!("{command} has no schema"));
        let row = page.lines().find(|line| line.contains(&format!("`{schema}`")));
        let row = row.unwrap_or_else(|| panic!("{schema} is not on the page"));
        for member in document.as_object().unwrap().keys().filter(|member| *member != "schema") {
            let named = row.split(|c: char| !c.is_alphanumeric()).any(|word| word == member);
            // The page refers to the manifest for the rest of it.
            let of_the_manifest =
                schema.starts_with("lifeboat.dev/backup-show/") && read(FORMAT).contains(&format!("`{member}`"));
            assert!(named || of_the_manifest, "{command}: '{member}' is not on the page");
        }
    }
    let failed =
        stage.command(program::path(), &folder).args(["backup", "show", "2020", "-o", "json"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(6));
    let document: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(document["error"]["code"], "notFound");
}
