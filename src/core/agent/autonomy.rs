//! How much an agent decides by itself.

string_enum! {
    /// How much an agent decides by itself.
    pub enum Autonomy {
        Full = "full",
        Semi = "semi",
        Supervised = "supervised",
    }
}
