//! An operator's folder: configuration, keys, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeboat_tests::cluster::{Cluster, testbed_bin};
use lifeboat_tests::s3::S3Server;
use serde_json::Value;
use tempfile::TempDir;

use super::Place;
use crate::program::lifeboat;

/// A folder with what `lifeboat init` writes, and how to reach a cluster and a store.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where its backups go.
    pub(crate) place: Place,
    env: Vec<(String, String)>,
    dir: TempDir,
}

/// A run of the program that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its result.
    pub(crate) stdout: String,
    /// Its log and its errors.
    pub(crate) stderr: String,
}

impl Run {
    /// The result as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Site {
    /// A site whose store is a folder.
    pub(crate) fn directory(cluster: &Cluster) -> Self {
        let site = Self::empty(|dir| Place::Directory(dir.join("store")));
        site.prepared(cluster, "./store")
    }

    /// A site whose store is a bucket.
    pub(crate) fn s3(cluster: &Cluster, server: S3Server) -> Self {
        let store = format!("s3://{}/tests", server.bucket);
        Self::empty(|_| Place::S3(server)).prepared(cluster, &store)
    }

    /// A site with the files of a folder that was prepared before.
    pub(crate) fn copy_of(folder: &Path) -> Self {
        let site = Self::empty(|dir| Place::Directory(dir.join("store")));
        for (path, bytes) in super::files::in_folder(folder) {
            let path = site.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        site
    }

    fn empty(place: impl FnOnce(&Path) -> Place) -> Self {
        let dir = TempDir::with_prefix("lifeboat-site-").unwrap();
        let path = std::env::join_paths([testbed_bin(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let mut site = Self { place: place(dir.path()), env: Vec::new(), dir };
        site.set("PATH", path.to_str().unwrap());
        site.set("HOME", site.path("").to_str().unwrap().to_owned());
        if let Place::S3(server) = &site.place {
            let (endpoint, access, secret) =
                (server.endpoint.clone(), server.access_key.clone(), server.secret_key.clone());
            site.set("LIFEBOAT_STORE_S3_ENDPOINT", endpoint);
            site.set("LIFEBOAT_STORE_S3_FORCE_PATH_STYLE", "true");
            site.set("AWS_REGION", "us-east-1");
            site.set("AWS_ACCESS_KEY_ID", access);
            site.set("AWS_SECRET_ACCESS_KEY", secret);
            site.set("AWS_EC2_METADATA_DISABLED", "true");
        }
        site
    }

    fn prepared(mut self, cluster: &Cluster, store: &str) -> Self {
        self.expect(0, &["init", "--cluster", "prod", "--store", store]);
        self.reach(cluster);
        self
    }

    /// Backs up that cluster from now on.
    pub(crate) fn reach(&mut self, cluster: &Cluster) {
        let etcd = cluster.etcd();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        self.set("KUBECONFIG", text(cluster.kubeconfig()));
        self.set("LIFEBOAT_ETCD_ENDPOINTS", etcd.endpoints.join(","));
        self.set("LIFEBOAT_ETCD_CA_FILE", text(etcd.ca_file));
        self.set("LIFEBOAT_ETCD_CERT_FILE", text(etcd.cert_file));
        self.set("LIFEBOAT_ETCD_KEY_FILE", text(etcd.key_file));
    }

    /// Sets a variable of the program's environment.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = lifeboat();
        command.current_dir(self.dir.path()).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs the program, which must end with that code.
    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
        run
    }

    /// Runs the program, which must end with that code, for its result as JSON.
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        self.expect(code, &[arguments, &["-o", "json"]].concat()).json()
    }

    /// Takes a backup, which must be complete, and gives its id.
    pub(crate) fn create(&self) -> String {
        let created = self.json(0, &["backup", "create"]);
        assert_eq!(created["state"], "Complete", "{created}");
        created["id"].as_str().unwrap().to_owned()
    }

    /// The ids that are listed, newest first, of a catalog without problems.
    pub(crate) fn listed(&self) -> Vec<String> {
        let listed = self.json(0, &["backup", "list"]);
        assert_eq!(listed["problems"].as_array().map(Vec::len), Some(0), "{listed}");
        listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Verifies a backup with the recovery key: everything in it must hold.
    pub(crate) fn verify(&self, id: &str) -> Value {
        let verified = self.json(0, &["backup", "verify", id, "--identity", "recovery.key"]);
        assert_eq!((&verified["ok"], verified["notChecked"].as_array().map(Vec::len)), (&true.into(), Some(0)));
        verified
    }
}
