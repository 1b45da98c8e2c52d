"""Questions about features, asked of a local store or of a server alike: experiments, overviews, and what they return."""
