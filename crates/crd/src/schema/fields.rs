//! The fields of an object: many small lists, looked up often and never changed.

use super::Schema;

/// Schemas by the names of fields, in order of their names. A list and no tree: schemas are large beside their names, and
/// a tree keeps room for many where most objects have few.
#[derive(Debug, Default)]
pub struct Fields(Box<[(Box<str>, Schema)]>);

impl Fields {
    /// The schema of a field.
    pub fn get(&self, name: &str) -> Option<&Schema> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The fields in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.0.iter().map(|(name, schema)| (&**name, schema))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Schema)> {
        self.0.iter_mut().map(|(name, schema)| (&**name, schema))
    }
}

impl FromIterator<(Box<str>, Schema)> for Fields {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Schema)>>(fields: I) -> Fields {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Fields(fields.into())
    }
}
