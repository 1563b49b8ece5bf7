//! The program that rebuilds data directories.

use std::path::PathBuf;

use super::Check;
use crate::app::App;

pub(super) async fn check(app: &App, given: Option<&PathBuf>, has_etcd: bool) -> Check {
    const NAME: &str = "etcdutl";
    let remedy =
        "install it in the minor version of etcd on machines where etcd is to be restored, or name it with --etcdutl";
    let Some(program) = app.etcdutl(given) else {
        let detail = "not in PATH: 'restore etcd' needs it, nothing else does";
        return if has_etcd { Check::warn(NAME, detail, remedy) } else { Check::ok(NAME, detail) };
    };
    match lifeboat_etcd::etcdutl_minor(&program).await {
        Ok(minor) => Check::ok(NAME, format!("version {minor}, {}", program.display())),
        Err(error) => Check::fail(NAME, lifeboat_recovery::chain(&error), remedy),
    }
}
