//! How much an agent decides by itself.

string_enum! {
    /// How much an agent decides by itself.
    pub enum Autonomy {
        /// All but what is critical.
        Full = "full",
        /// What is of medium priority and less urgent.
        Semi = "semi",
        /// Nothing.
        Supervised = "supervised",
    }
}
