"""Hand-written networks in the style of public repositories, each with the inputs that it takes."""

from branchfold.benchmarks.zoo_networks.examples import Example

NETWORKS: dict[str, Example] = {}
