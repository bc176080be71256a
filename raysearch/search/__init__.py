"""The search itself: what to start, what a report means, how a trial ends; what it starts from; how long it takes."""
