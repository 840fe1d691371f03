//! Autonomy levels of agents: the decisions that an agent makes without a person.

string_enum! {
    /// Level of decisions that an agent makes without a person.
    pub enum Autonomy {
        Full = "full",
        Semi = "semi",
        Supervised = "supervised",
    }
}
