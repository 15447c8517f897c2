//! Every line of every conversation, and everything around it.
