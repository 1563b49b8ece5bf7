//! What somebody may have meant.

/// `, did you mean 'deployments'?`: the known name that is nearest to the one given, and nothing where none is known.
pub(crate) fn did_you_mean<S: AsRef<str>>(given: &str, known: impl IntoIterator<Item = S>) -> String {
    let given = given.to_lowercase();
    let distance = |name: &S| strsim::damerau_levenshtein(&name.as_ref().to_lowercase(), &given);
    let nearest = known.into_iter().filter(|name| !name.as_ref().is_empty()).min_by_key(distance);
    nearest.map_or_else(String::new, |name| format!(", did you mean '{}'?", name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_named_whatever_its_case() {
        assert_eq!(did_you_mean("deploiment", ["Pod", "", "Deployment"]), ", did you mean 'Deployment'?");
        assert_eq!(did_you_mean("x", Vec::<String>::new()), "");
    }
}
