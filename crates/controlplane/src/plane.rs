use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::sleep;

use crate::builder::Options;
use crate::client::Client;
use crate::controllers::Controller;
use crate::etcd::{EtcdAccess, Member, holds_data, initial_cluster};
use crate::files::{at, private_dir, write_private};
use crate::kubeconfig::{file_name, kubeconfig};
use crate::pki::{ADMIN, Credentials, Pki};
use crate::ports::{free_port, free_ports};
use crate::{Binaries, Builder, Error, Process, Result, api_server, controllers};

/// How often a start is tried when a port was taken in between, and how long it waits where the port must stay.
const PORT_TRIES: u32 = 10;
const PORT_WAIT: Duration = Duration::from_millis(200);

/// A running control plane, which ends with this value.
///
/// Its folder holds `pki/`, `logs/`, `etcd-N/` and `kubeconfig`. Started again on the same folder with the same ports,
/// it has the same certificates, so kubeconfigs stay valid.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in order: who depends on another is dropped, and so killed, before it.
    controllers: Vec<Process>,
    api_server: Option<Process>,
    members: Vec<Member>,
    api_port: u16,
    pki: Pki,
    options: Options,
}

impl ControlPlane {
    /// A control plane to be started in `dir`, which is made if it is not there.
    pub fn builder(binaries: Binaries, dir: impl Into<PathBuf>) -> Builder {
        Builder::new(binaries, dir.into())
    }

    pub(crate) async fn start(options: Options) -> Result<Self> {
        let mut plane = Self::prepare(options)?;
        plane.first_start().await?;
        Ok(plane)
    }

    /// Everything but the processes: folders, certificates, ports.
    fn prepare(options: Options) -> Result<Self> {
        private_dir(&options.dir)?;
        private_dir(&options.logs())?;
        let pki = Pki::open_or_create(options.dir.join("pki"))?;
        let members = (0..options.members).map(|index| member(&options, index)).collect::<Result<_>>()?;
        let api_port = options.api_port.map_or_else(free_port, Ok)?;
        Ok(Self { controllers: Vec::new(), api_server: None, members, api_port, pki, options })
    }

    /// Starts everything for the first time: a port that nobody fixed is changed when it was taken in between.
    async fn first_start(&mut self) -> Result<()> {
        let new: Vec<PathBuf> = self.etcd_data_dirs().into_iter().filter(|dir| !dir.exists()).collect();
        let mut tries = 1;
        while let Err(e) = self.try_start_etcd().await {
            again_if_port_taken(e, &mut tries)?;
            self.stop_etcd().await;
            // Members that did start know the others by the old ports.
            remove_dirs(&new)?;
            sleep(PORT_WAIT).await;
            for (member, index) in self.members.iter_mut().zip(0..) {
                [member.client_port, member.peer_port] = ports(&self.options, index)?;
            }
        }
        self.write_kubeconfigs()?;
        if !self.options.api_server {
            return Ok(());
        }
        tries = 1;
        while let Err(e) = self.try_start_api_server().await {
            again_if_port_taken(e, &mut tries)?;
            sleep(PORT_WAIT).await;
            self.api_port = self.options.api_port.map_or_else(free_port, Ok)?;
            self.write_kubeconfigs()?;
        }
        Ok(())
    }

    /// Stops everything, each part after those that depend on it.
    pub async fn stop(mut self) {
        self.stop_api_server().await;
        self.stop_etcd().await;
    }

    /// Starts every member of etcd that does not run, on the port that it had, and waits until all are healthy.
    pub async fn start_etcd(&mut self) -> Result<()> {
        let mut tries = 1;
        while let Err(e) = self.try_start_etcd().await {
            again_if_port_taken(e, &mut tries)?;
            sleep(PORT_WAIT).await;
        }
        Ok(())
    }

    async fn try_start_etcd(&mut self) -> Result<()> {
        let cluster = initial_cluster(&self.members);
        for member in self.members.iter_mut().filter(|m| !m.is_running()) {
            member.spawn(&self.options, &self.pki, &cluster)?;
        }
        // All at once: one that ends early is noticed while others still wait for it.
        let ready = self.members.iter().map(|member| member.wait_ready(&self.pki, self.options.deadline));
        try_join_all(ready).await?;
        Ok(())
    }

    /// Stops all members of etcd.
    pub async fn stop_etcd(&mut self) {
        for member in &mut self.members {
            member.stop().await;
        }
    }

    /// Kills a member of etcd without warning. [`ControlPlane::start_etcd`] brings it back.
    pub async fn kill_member(&mut self, index: usize) -> Result<()> {
        let member = self.members.get_mut(index);
        let member = member.ok_or_else(|| Error::Invalid(format!("etcd has no member {index}")))?;
        if let Some(process) = member.process.take() {
            process.kill().await;
        }
        Ok(())
    }

    /// The disaster: kills everything and deletes etcd's data.
    ///
    /// [`ControlPlane::use_etcd_data_dir`], [`ControlPlane::start_etcd`] and [`ControlPlane::start_api_server`] bring
    /// the control plane back.
    pub async fn destroy_etcd_data(&mut self) -> Result<()> {
        self.stop_api_server().await;
        for index in 0..self.members.len() {
            self.kill_member(index).await?;
        }
        remove_dirs(&self.etcd_data_dirs())
    }

    /// Lets the next [`ControlPlane::start_etcd`] begin with another data directory, as [`Builder::etcd_data_dir`].
    pub fn use_etcd_data_dir(&mut self, dir: impl Into<PathBuf>) -> Result<()> {
        let dir = dir.into();
        holds_data(&dir)?;
        match self.members.as_mut_slice() {
            [member] if !member.is_running() => member.data_dir = dir,
            [_] => return Err(Error::Invalid("etcd must be stopped before its data directory changes".to_owned())),
            _ => return Err(Error::Invalid("an existing etcd data directory is of one member".to_owned())),
        }
        Ok(())
    }

    /// Starts the API server if it does not run, on the port that it had, and the controllers that were asked for;
    /// waits until all are ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let mut tries = 1;
        while let Err(e) = self.try_start_api_server().await {
            again_if_port_taken(e, &mut tries)?;
            sleep(PORT_WAIT).await;
        }
        Ok(())
    }

    async fn try_start_api_server(&mut self) -> Result<()> {
        let api = self.client("kube-apiserver", self.api_port)?;
        if self.api_server.as_ref().is_none_or(|process| process.ended().is_some()) {
            let process = api_server::spawn(&self.options, &self.pki, self.api_port, &self.etcd().endpoints)?;
            // Kept only once it is ready, so that a failed start leaves nothing running.
            api_server::wait_ready(&process, &api, self.options.deadline).await?;
            self.api_server = Some(process);
        }
        self.start_controllers(&api).await
    }

    /// Stops the controllers and the API server.
    pub async fn stop_api_server(&mut self) {
        for process in self.controllers.drain(..) {
            process.stop(controllers::GRACE).await;
        }
        if let Some(process) = self.api_server.take() {
            process.stop(api_server::GRACE).await;
        }
    }

    async fn start_controllers(&mut self, api: &Client) -> Result<()> {
        let kubeconfig = self.kubeconfig();
        self.controllers.clear();
        for &controller in &self.options.controllers {
            let process = self.start_controller(controller, &kubeconfig).await?;
            self.controllers.push(process);
        }
        if self.options.kwok_nodes > 0 {
            let kwok = controllers::spawn_kwok(&self.options, &kubeconfig)?;
            controllers::provide_nodes(&kwok, api, self.options.kwok_nodes, self.options.deadline).await?;
            self.controllers.push(kwok);
        }
        Ok(())
    }

    /// Starts one controller on a free port and waits until it is healthy.
    async fn start_controller(&self, controller: Controller, kubeconfig: &Path) -> Result<Process> {
        let mut tries = 1;
        loop {
            let port = free_port()?;
            let process = controller.spawn(&self.options, &self.pki, port, kubeconfig)?;
            let client = self.client(controller.name(), port)?;
            match controllers::wait_healthy(&process, &client, self.options.deadline).await {
                Ok(()) => return Ok(process),
                Err(e) => again_if_port_taken(e, &mut tries)?,
            }
        }
    }

    /// The API server's URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// The kubeconfig of a user who may do everything (`system:masters`).
    pub fn kubeconfig(&self) -> PathBuf {
        self.options.dir.join("kubeconfig")
    }

    /// Writes a kubeconfig for a user with at most two groups, and says where. What the user may do is up to RBAC.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let path = self.options.dir.join(file_name(user));
        self.write_kubeconfig(&path, user, &self.pki.issue(user, groups)?)?;
        Ok(path)
    }

    /// What a client of etcd needs.
    pub fn etcd(&self) -> EtcdAccess {
        let (cert_file, key_file) = self.pki.etcd_client();
        let endpoints = self.members.iter().map(Member::url).collect();
        EtcdAccess { endpoints, ca_file: self.pki.ca(), cert_file, key_file }
    }

    /// The process ids of etcd's members; `None` for one that does not run.
    pub fn etcd_pids(&self) -> Vec<Option<u32>> {
        self.members.iter().map(|m| m.process.as_ref().map(Process::id)).collect()
    }

    /// The process id of the API server, if it runs.
    pub fn api_server_pid(&self) -> Option<u32> {
        self.api_server.as_ref().map(Process::id)
    }

    /// The data directories of etcd's members.
    pub fn etcd_data_dirs(&self) -> Vec<PathBuf> {
        self.members.iter().map(|m| m.data_dir.clone()).collect()
    }

    /// The folder of the control plane.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// The certificates and keys.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    fn admin(&self) -> Result<Credentials> {
        Ok(Credentials {
            certificate: Pki::read(&self.pki.certificate("admin"))?,
            key: Pki::read(&self.pki.key("admin"))?,
        })
    }

    fn client(&self, name: &'static str, port: u16) -> Result<Client> {
        Client::new(name, port, &Pki::read(&self.pki.ca())?, &self.admin()?)
    }

    fn write_kubeconfigs(&self) -> Result<()> {
        self.write_kubeconfig(&self.kubeconfig(), ADMIN.0, &self.admin()?)
    }

    fn write_kubeconfig(&self, path: &Path, user: &str, credentials: &Credentials) -> Result<()> {
        let text = kubeconfig(&self.url(), &Pki::read(&self.pki.ca())?, user, credentials);
        write_private(path, text.as_bytes())
    }
}

/// A member that is not started yet.
fn member(options: &Options, index: u16) -> Result<Member> {
    let name = format!("etcd-{index}");
    let [client_port, peer_port] = ports(options, index)?;
    let data_dir = options.etcd_data_dir.clone().unwrap_or_else(|| options.dir.join(&name));
    Ok(Member { name, data_dir, client_port, peer_port, process: None })
}

/// The ports of a member for clients and for peers: as the options say, otherwise free ones.
fn ports(options: &Options, index: u16) -> Result<[u16; 2]> {
    let Some(first) = options.etcd_port else { return free_ports() };
    let port = |offset: u16| {
        let none = || Error::Invalid(format!("etcd's ports from {first} on go beyond {}", u16::MAX));
        first.checked_add(offset).ok_or_else(none)
    };
    // The peer port of a single member need not stay: nobody asks there, and its data may name another.
    let peer_port = if options.members == 1 { free_port() } else { port(options.members.saturating_add(index)) };
    Ok([port(index)?, peer_port?])
}

/// Lets a start be tried once more if that may help.
fn again_if_port_taken(e: Error, tries: &mut u32) -> Result<()> {
    if !e.is_port_taken() || *tries == PORT_TRIES {
        return Err(e);
    }
    tracing::debug!(error = %e, "a port was taken; trying again");
    *tries += 1;
    Ok(())
}

fn remove_dirs(dirs: &[PathBuf]) -> Result<()> {
    for dir in dirs.iter().filter(|dir| dir.exists()) {
        fs::remove_dir_all(dir).map_err(at("deleting", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Between choosing a port and listening on it, another program may take it.
    #[tokio::test]
    async fn ports_that_were_taken_in_between_are_changed() {
        let dir = tempfile::tempdir().unwrap();
        let listen = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let busy = [listen(), listen(), listen()];
        let [client, peer, api] = busy.each_ref().map(|listener| listener.local_addr().unwrap().port());

        let options = ControlPlane::builder(Binaries::new([lifeboat_tests::cluster::testbed_bin()]), dir.path());
        let mut plane = ControlPlane::prepare(options.into_options().unwrap()).unwrap();
        plane.members[0].client_port = client;
        plane.api_port = api;
        plane.first_start().await.unwrap();
        assert_ne!(plane.members[0].client_port, client);
        assert_ne!(plane.api_port, api);
        let kubeconfig = fs::read_to_string(plane.kubeconfig()).unwrap();
        assert!(kubeconfig.contains(&plane.url()), "the kubeconfig has the new port");
        assert_eq!(plane.client("kube-apiserver", plane.api_port).unwrap().get("/readyz").await.unwrap().body, "ok");

        // Three members, of which the first cannot listen to its peers: the others must forget its port.
        let options =
            ControlPlane::builder(Binaries::new([lifeboat_tests::cluster::testbed_bin()]), dir.path().join("3"));
        let mut plane = ControlPlane::prepare(options.etcd_members(3).etcd_only().into_options().unwrap()).unwrap();
        plane.members[0].peer_port = peer;
        plane.first_start().await.unwrap();
        assert_ne!(plane.members[0].peer_port, peer);
    }
}
