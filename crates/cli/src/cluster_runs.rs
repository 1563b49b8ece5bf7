//! Runs of playbooks that are objects of a cluster, as people reach them.

use lifeboat_daemon::{PlaybookApproval, PlaybookRun};
use lifeboat_kubernetes::{Cluster, FieldValidation, ObjectPath, WriteOptions};
use lifeboat_model::ResourceType;
use lifeboat_playbook::PlaybookApprovalSpec;
use serde_json::json;

use crate::app::App;
use crate::args::ClusterArgs;
use crate::desk;
use crate::error::{Error, Result};

const OPTIONS: WriteOptions<'static> =
    WriteOptions { dry_run: false, field_manager: "lifeboat-cli", field_validation: FieldValidation::Strict };

/// A cluster, and the namespace of its runs.
pub(crate) struct ClusterRuns {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
}

fn resource(plural: &str, kind: &str) -> ResourceType {
    ResourceType {
        group: "lifeboat.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        resource: plural.to_owned(),
        kind: kind.to_owned(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        namespaced: true,
    }
}

impl ClusterRuns {
    pub(crate) async fn open(app: &App, cluster: &ClusterArgs, namespace: &str) -> Result<Self> {
        let cluster = Cluster::connect(desk::options(app, cluster)?).await?;
        Ok(Self { cluster, namespace: namespace.to_owned() })
    }

    /// The object of that name; `None` where there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<PlaybookRun>> {
        let resource = resource("playbookruns", "PlaybookRun");
        let path = ObjectPath { resource: &resource, namespace: Some(&self.namespace), name };
        let Some(bytes) = self.cluster.get(path).await? else { return Ok(None) };
        let run =
            serde_json::from_slice(&bytes).map_err(|source| Error::Form { format: "JSON", source: source.into() });
        run.map(Some)
    }

    /// Says yes or no to what a run asks; gives the name of the object.
    pub(crate) async fn answer(&self, answer: PlaybookApprovalSpec) -> Result<String> {
        let resource = resource("playbookapprovals", "PlaybookApproval");
        let begin = answer.run.get(..answer.run.floor_char_boundary(200)).unwrap_or_default();
        let name = format!("{begin}-{:08x}", fastrand::u32(..));
        let path = ObjectPath { resource: &resource, namespace: Some(&self.namespace), name: &name };
        let mut object = PlaybookApproval::new(&name, lifeboat_daemon::PlaybookApprovalResource(answer));
        object.metadata.namespace = Some(self.namespace.clone());
        let body =
            serde_json::to_vec(&object).map_err(|source| Error::Form { format: "JSON", source: source.into() })?;
        self.cluster.create(path, body.into(), OPTIONS).await?;
        Ok(name)
    }

    /// Has what a run did taken back; once more where it was wanted before.
    pub(crate) async fn take_back(&self, run: &PlaybookRun, by: &str) -> Result<()> {
        let resource = resource("playbookruns", "PlaybookRun");
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let path = ObjectPath { resource: &resource, namespace: Some(&self.namespace), name };
        let wishes: &[Option<&str>] = if run.spec.0.rolled_back_by.is_some() { &[None, Some(by)] } else { &[Some(by)] };
        for wish in wishes {
            let patch = json!({"metadata": {"uid": run.metadata.uid}, "spec": {"rolledBackBy": wish}});
            self.cluster.merge_patch(path, patch.to_string().into_bytes().into(), OPTIONS).await?;
        }
        Ok(())
    }
}
