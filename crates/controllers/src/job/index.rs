//! The indexes of an indexed Job, as ranges in text: `0-2,5`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::views::Pod;

/// Label and annotation of a pod: its index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A pod's index.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotation(INDEX).or(pod.metadata.label(INDEX))?.parse().ok()
}

/// When a pod's last container ended, or the pod was told to go.
pub(super) fn ended(pod: &Pod) -> Option<Timestamp> {
    let containers = pod.status.container_statuses.iter();
    let ends = containers.filter_map(|container| container.state.terminated.as_ref()?.finished_at);
    ends.max().or(pod.metadata.deletion_timestamp)
}

/// Reads ranges; what cannot be read, or lies outside `0..count`, is left out.
pub(super) fn read(text: &str, count: i32) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) {
            indexes.extend(first.max(0)..=last.min(count - 1));
        }
    }
    indexes
}

/// Writes ranges.
pub(super) fn write(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let text = |(first, last): (i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_written_as_kubernetes_does() {
        assert_eq!(write(&BTreeSet::from([0, 1, 2, 4, 6, 7])), "0-2,4,6,7");
        assert_eq!(read("0-2,9,x", 5), BTreeSet::from([0, 1, 2]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(indexes in prop::collection::btree_set(0..50_i32, 0..30)) {
            prop_assert_eq!(read(&write(&indexes), 50), indexes);
        }
    }
}
