// nextflow run main.nf --output /data/big.zarr --shares 8, after: stackctl plan --shares 8 COMMAND ... -o /data/big.zarr
// The output is one place that all shares write to; what a process hands on is the word that it has ended.
params.output = null
params.shares = null

process share {
    errorStrategy { task.exitStatus in [75, 137, 143] ? 'retry' : 'terminate' }
    maxRetries 5
    input:
    val number
    output:
    val number
    script:
    "stackctl run '${params.output}' --share ${number} --threads ${task.cpus}"
}

process complete {
    input:
    val done
    script:
    "stackctl finalize '${params.output}'"
}

workflow {
    complete(share(channel.of(0..<(params.shares as int))).collect())
}
