//! What remains to be done after a data directory was restored.
//!
//! Sources: "Restoring an etcd cluster" in <https://kubernetes.io/docs/tasks/administer-cluster/configure-upgrade-etcd/>,
//! <https://etcd.io/docs/v3.6/op-guide/recovery/>, <https://docs.k3s.io/cli/etcd-snapshot> and
//! <https://docs.rke2.io/datastore/backup_restore>.

use lifeboat_recovery::restore_etcd::Restored;
use serde::Serialize;

use crate::args::RestoreEtcdArgs;

/// The steps for one way of running etcd.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) steps: Vec<String>,
}

/// The steps for each way of running etcd.
pub(crate) fn sections(arguments: &RestoreEtcdArgs, restored: &Restored) -> Vec<Section> {
    let data_dir = restored.data_dir.display().to_string();
    let backup = restored.backup.as_str();
    let again = member_command(backup, arguments.initial_cluster.is_some());
    vec![kubeadm(&data_dir, &again), service(&data_dir, &again), rancher(backup)]
}

/// The command for one more member: everything but its own name and address is the same.
fn member_command(backup: &str, has_cluster: bool) -> String {
    let cluster = if has_cluster { "<as here>" } else { "NAME1=https://IP1:2380,NAME2=https://IP2:2380,..." };
    format!(
        "lifeboat restore etcd {backup} --data-dir DIR --name NAME --initial-cluster {cluster} \\\n\
         \x20 --initial-advertise-peer-urls https://IP:2380 --identity recovery.key"
    )
}

fn several(again: &str) -> String {
    format!(
        "Several members: restore this same backup on each of them before any starts, each with its own name and peer\n\
         URL, and with the same --initial-cluster, --initial-cluster-token and --bump-revision. A member restored as the\n\
         only one of its cluster must be restored again:\n{again}"
    )
}

fn section(title: &str, steps: &[&str]) -> Section {
    Section { title: title.to_owned(), steps: steps.iter().map(|step| (*step).to_owned()).collect() }
}

const RESTART: &str = "Restart what holds an old view of the cluster: the kubelet on every node, then operators, and the agents of network\n\
     and storage. Watches that ran before the restore end with 'compacted' and list anew.";
const CHECK: &str = "Check: 'kubectl get --raw=/readyz?verbose', 'kubectl get nodes', and the workloads. Pods that were deleted after the\n\
     backup come back; those made after it are gone from the API and may still run until their kubelet stops them.";

fn kubeadm(data_dir: &str, again: &str) -> Section {
    let several = several(again);
    let etcd = format!(
        "On every control plane node put etcd back, whose manifest must point at {data_dir}, and wait until it is healthy:\n\
         mv /etc/kubernetes/stopped/etcd.yaml /etc/kubernetes/manifests/\n\
         etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \\\n\
         \x20 --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key /etc/kubernetes/pki/etcd/healthcheck-client.key \\\n\
         \x20 endpoint health --cluster"
    );
    section(
        "kubeadm",
        &[
            "On every control plane node stop the API server, controller manager, scheduler and etcd, if that is not done yet:\n\
             mkdir -p /etc/kubernetes/stopped && mv /etc/kubernetes/manifests/*.yaml /etc/kubernetes/stopped/\n\
             and wait until 'crictl ps' shows none of them.",
            &several,
            &etcd,
            "On every control plane node start the API server, then the controller manager and the scheduler:\n\
             mv /etc/kubernetes/stopped/*.yaml /etc/kubernetes/manifests/",
            RESTART,
            CHECK,
        ],
    )
}

fn service(data_dir: &str, again: &str) -> Section {
    let several = several(again);
    let start = format!(
        "Give the data directory to the user that etcd runs as, and start etcd on every member:\n\
         chown -R etcd:etcd {data_dir} && systemctl start etcd\n\
         etcdctl endpoint health --cluster && etcdctl member list"
    );
    section(
        "etcd as a service of its own",
        &[
            "Stop all API servers, if that is not done yet: one that runs on while etcd goes back in time serves stale data.",
            &several,
            &start,
            "If the addresses of etcd have changed, correct --etcd-servers of every API server.",
            "Start the API servers, then restart controller managers and schedulers.",
            RESTART,
            CHECK,
        ],
    )
}

fn rancher(backup: &str) -> Section {
    let download = format!(
        "They run etcd themselves, and take a snapshot file instead of a data directory:\n\
         lifeboat backup download {backup} --to /root/restore --identity recovery.key"
    );
    section(
        "k3s and RKE2",
        &[
            &download,
            "Stop all servers: 'systemctl stop k3s' (RKE2: rke2-server). Each needs the token that it had when the backup was taken.",
            "On one server:\n\
             k3s server --cluster-reset --cluster-reset-restore-path=/root/restore/etcd.db\n\
             (RKE2: rke2 server ...), and when it says so, 'systemctl start k3s'.",
            "Several servers: on each of the others move its database away, then start it; it joins the restored one:\n\
             mv /var/lib/rancher/k3s/server/db /var/lib/rancher/k3s/server/db.old && systemctl start k3s\n\
             (RKE2: /var/lib/rancher/rke2, rke2-server)",
            "Remove /root/restore: it holds every Secret in plain text.",
            "Restart the agents on all other nodes, 'systemctl restart k3s-agent' (RKE2: rke2-agent), then operators: revisions\n\
             went back, and what watched before the restore must begin anew.",
            CHECK,
        ],
    )
}
