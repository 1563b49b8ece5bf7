//! What the target has within the selection, and the backup does not.

use std::collections::{BTreeSet, HashSet};

use super::candidates::{Candidate, Candidates};
use super::plan::{PlannedKind, Verdict};
use super::request::Request;
use super::target::Target;
use super::wanted::parse;
use crate::OpenBackup;
use crate::error::{Error, Result};
use crate::rules::{self, SkipContext, controller};

/// The objects of the target, of kinds that the backup has in full, that fit the selection and are not in the backup.
/// Left alone are those that are never restored, those that belong to a controller, which keeps or deletes them by
/// itself, and claims, whose volumes would go with them, unless their kind was named.
pub(super) async fn surplus(
    open: &OpenBackup,
    target: &Target,
    request: &Request,
    candidates: &mut Candidates,
) -> Result<Vec<Candidate>> {
    let selection = &request.selection;
    let namespaces: BTreeSet<&String> =
        selection.namespaces.iter().map(|name| request.settings.namespaces.get(name).unwrap_or(name)).collect();
    let gaps: HashSet<&str> = open.coverage().gaps.iter().map(|gap| gap.resource.as_str()).collect();
    let mut context = SkipContext::default();
    let mut surplus = Vec::new();
    let mut known: Vec<_> = open.coverage().resources.iter().collect();
    known.sort_by_key(|known| rules::wave(&known.resource).number);
    for known in known {
        let resource = &known.resource;
        let is_claims = resource.group.is_empty() && resource.resource == "persistentvolumeclaims";
        let complete = !gaps.contains(resource.group_resource().to_string().as_str());
        if !resource.namespaced
            || !complete
            || !selection.wants_type(resource)
            || rules::skip_type(resource).is_some()
            || (is_claims && selection.kinds.is_empty())
        {
            continue;
        }
        let Some(served) = target.served(resource).await? else { continue };
        let number = kind_number(candidates, resource, served);
        let kind = usize::try_from(number).ok().and_then(|number| candidates.kinds.get(number));
        let kind = kind.map(PlannedKind::target).ok_or(Error::Lost("planning"))?;
        let mut found = Vec::new();
        for namespace in &namespaces {
            let entries = candidates.objects.entries.iter();
            let there: HashSet<&str> = entries
                .filter(|entry| entry.kind == number && entry.namespace == Some(namespace.as_str()))
                .map(|entry| entry.name)
                .collect();
            let keep = |(_, name): super::target::Place<'_>, json: &[u8]| {
                let object = parse(json)?;
                context.observe(&kind, &object);
                Ok(!there.contains(name)
                    && (selection.names.is_empty() || selection.names.iter().any(|wanted| wanted == name))
                    && rules::skip(&kind, &object, &context).is_none()
                    && controller(&object).is_none()
                    && request.fits(&object)?)
            };
            found.extend(target.list(&kind, Some(namespace), keep).await?);
        }
        surplus.extend(found.into_iter().map(|listed| {
            Candidate::without_source(number, listed.namespace, listed.name, Verdict::Prune { live: listed.live })
        }));
    }
    Ok(surplus)
}

/// The number of a kind among the plan's; added where it is none of them.
fn kind_number(candidates: &mut Candidates, resource: &lifeboat_model::ResourceType, served: String) -> u32 {
    candidates.kind(&resource.group, &resource.resource).unwrap_or_else(|| {
        let mut kind = PlannedKind::of(resource);
        kind.served = Some(served);
        candidates.kinds.push(kind);
        u32::try_from(candidates.kinds.len() - 1).unwrap_or(u32::MAX)
    })
}
