//! One test for each defect that users of other tools have met and that can be made here.
